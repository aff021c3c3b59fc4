"""The window: header, banner, sidebar, pages. It shows; what is asked for goes to the actions and to whoever asks back."""

import time

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QAction, QCloseEvent, QHideEvent, QKeySequence, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from yarddesk.desktop import theme
from yarddesk.desktop.actions import Actions
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.core import Remedy
from yarddesk.desktop.models.headline import headline
from yarddesk.desktop.style import style_sheet
from yarddesk.desktop.tasks import Failure, Tasks
from yarddesk.desktop.views.activity_page import ActivityPage
from yarddesk.desktop.views.banner import Banner
from yarddesk.desktop.views.header import Header
from yarddesk.desktop.views.queue_page import QueuePage
from yarddesk.desktop.views.setup_page import SetupPage
from yarddesk.desktop.views.sidebar import Page, Sidebar
from yarddesk.desktop.views.toast import Toast
from yarddesk.desktop.views.upstreams_page import UpstreamsPage
from yarddesk.sync.snapshot import SyncSnapshot
from yarddesk.sync.states import JobState

SIZE = QSize(980, 640)
LEAST = QSize(640, 420)
SIDEBAR_COLLAPSES = 760

PAGES = (
    Page("queue", "Queue", "queue"),
    Page("upstreams", "Upstreams", "upstreams"),
    Page("activity", "Activity", "activity"),
    Page("setup", "Set up", "setup"),
)


class MainWindow(QMainWindow):
    """`close_wanted` comes in place of closing: whoever owns the window decides where it goes."""

    close_wanted = Signal()
    became_visible = Signal(bool)

    def __init__(self, bridge: Bridge, actions: Actions, tasks: Tasks) -> None:
        super().__init__()
        self.setWindowTitle("yarddesk")
        self.setMinimumSize(LEAST)
        self.resize(SIZE)
        self._bridge = bridge
        self._actions = actions
        self._failure: Failure | None = None
        self._notice: tuple[str, str, tuple[tuple[str, str], ...]] | None = None
        self._sheet = ""
        self.header = Header(actions, bridge.core.address)
        self.banner = Banner()
        self.sidebar = Sidebar(PAGES, tuple(f"Ctrl+{number}" for number in range(1, len(PAGES) + 1)))
        self.queue_page = QueuePage(bridge, actions)
        self.upstreams_page = UpstreamsPage(bridge, actions)
        self.activity_page = ActivityPage(bridge, actions)
        self.setup_page = SetupPage(bridge, tasks)
        self._stack = QStackedWidget()
        self._pages: dict[str, QWidget] = {
            "queue": self.queue_page,
            "upstreams": self.upstreams_page,
            "activity": self.activity_page,
            "setup": self.setup_page,
        }
        self._lay_out()
        self.toast = Toast(self._stack)
        self._connect(actions, tasks)
        self._dress()
        self.show_page("queue")
        self._on_snapshot(bridge.snapshot)
        self._on_storage()
        self._on_second()
        self._say_most_important()

    def show_page(self, key: str) -> None:
        """Bring a page to the front, and the focus into it where it isn't there already."""
        self.sidebar.choose(key)
        focus: QWidget | None = self.focusWidget()
        if focus is None or not self._pages[key].isAncestorOf(focus):
            self._focus_page(key)

    @property
    def page(self) -> str:
        """The key of the page that is shown."""
        return next(key for key, page in self._pages.items() if page is self._stack.currentWidget())

    def show_failure(self, failure: Failure) -> None:
        """Say what did not work, until the person closes it."""
        self._failure = failure
        self._say_most_important()

    def show_notice(self, title: str, hint: str, buttons: tuple[tuple[str, str], ...]) -> None:
        """Say something to know, until the person closes it."""
        self._notice = (title, hint, buttons)
        self._say_most_important()

    # What Qt calls

    def closeEvent(self, event: QCloseEvent) -> None:
        event.ignore()
        self.close_wanted.emit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._tell_visibility()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._tell_visibility()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._tell_visibility()
        elif event.type() == QEvent.Type.PaletteChange:
            self._dress()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.sidebar.set_narrow(self.width() < SIDEBAR_COLLAPSES)

    # Putting it together

    def _lay_out(self) -> None:
        for page in self._pages.values():
            self._stack.addWidget(page)
        right = QVBoxLayout()
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addWidget(self._stack, 1)
        below = QHBoxLayout()
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(0)
        below.addWidget(self.sidebar)
        below.addLayout(right, 1)
        content = QWidget()
        content.setObjectName("content")
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.banner)
        column.addLayout(below, 1)
        self.setCentralWidget(content)

    def _connect(self, actions: Actions, tasks: Tasks) -> None:
        self.sidebar.page_chosen.connect(self._on_page)
        for number, page in enumerate(PAGES, 1):
            go = QAction(page.title, self)
            go.setShortcut(QKeySequence(f"Ctrl+{number}"))
            go.setData(page.key)
            go.triggered.connect(self._on_go)
            self.addAction(go)
        close = QAction("Close window", self)
        close.setShortcut(QKeySequence("Ctrl+W"))
        close.triggered.connect(self.close)
        self.addAction(close)
        self.addActions([actions.pause, actions.resume, actions.retry_all, actions.copy_address])
        self.addActions([actions.add_upstream, actions.open_settings_file, actions.quit])
        self._bridge.snapshot_changed.connect(self._on_snapshot)
        self._bridge.storage_changed.connect(self._on_storage)
        self._bridge.second_passed.connect(self._on_second)
        self._bridge.problems_changed.connect(self._say_most_important)
        actions.noticed.connect(self.toast.say)
        tasks.failed.connect(self.show_failure)
        self.banner.remedy_wanted.connect(self._on_remedy)
        self.banner.closed.connect(self._on_banner_closed)

    def _dress(self) -> None:
        sheet = style_sheet(theme.tokens())
        if sheet != self._sheet:
            self._sheet = sheet
            self.setStyleSheet(sheet)

    # What happens

    def _on_page(self, key: str) -> None:
        self._stack.setCurrentWidget(self._pages[key])
        self._focus_page(key)

    def _focus_page(self, key: str) -> None:
        self._pages[key].setFocus(Qt.FocusReason.OtherFocusReason)

    def _on_go(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.show_page(action.data())

    def _on_snapshot(self, snapshot: SyncSnapshot) -> None:
        self.header.show_headline(headline(snapshot, self._bridge.now()))
        counts = snapshot.counts
        asking = bool(counts.get(JobState.BLOCKED) or counts.get(JobState.FAILED))
        self.sidebar.button("queue").show_waiting(len(snapshot.jobs), needs_you=asking)
        unwell = any(upstream.state == "needs_you" for upstream in snapshot.upstreams)
        self.sidebar.button("upstreams").show_waiting(0, needs_you=unwell)
        self._show_throughput()

    def _on_second(self) -> None:
        self.header.show_headline(headline(self._bridge.snapshot, self._bridge.now()))
        self._show_throughput()

    def _show_throughput(self) -> None:
        now, bridge = time.monotonic(), self._bridge
        self.sidebar.show_throughput(bridge.throughput.values(now))
        self.sidebar.show_fetching(bridge.core.traffic.fills, bridge.fetching.latest(now))

    def _on_storage(self) -> None:
        core = self._bridge.core
        self.sidebar.show_usage(core.used_bytes(), core.max_bytes, core.stored_bytes())

    def _on_remedy(self, remedy: Remedy) -> None:
        actions = self._actions
        {
            Remedy.RETRY: actions.retry_all,
            Remedy.OPEN_DATA_FOLDER: actions.open_data_folder,
            Remedy.OPEN_QUEUE_FOLDER: actions.open_queue_folder,
            Remedy.OPEN_SETTINGS_FILE: actions.open_settings_file,
            Remedy.SHOW_UPSTREAMS: actions.show_upstreams,
        }[remedy].trigger()

    def _on_banner_closed(self) -> None:
        if self._failure is not None:
            self._failure = None
        else:
            self._notice = None
        self._say_most_important()

    def _say_most_important(self) -> None:
        """What stops everything before a failure, a notice, and a problem that can wait; the banner has room for one."""
        problems = sorted(self._bridge.problems, key=lambda problem: not problem.stops)
        if problems and problems[0].stops:
            self.banner.show_problem(problems[0])
        elif self._failure is not None:
            self.banner.show_failure(self._failure)
        elif self._notice is not None:
            self.banner.show_notice(*self._notice)
        elif problems:
            self.banner.show_problem(problems[0])
        else:
            self.banner.hide()

    def _tell_visibility(self) -> None:
        self.became_visible.emit(self.isVisible() and not self.isMinimized())
