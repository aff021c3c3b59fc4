"""The front of a running yard: bridge, actions, window and tray, put together; and the dialogs that they ask for."""

import sys
from collections.abc import Callable

from PySide6.QtCore import QObject, QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QSystemTrayIcon, QWidget

from yarddesk.content.credentials import Secret
from yarddesk.content.upstream import UpstreamDenied
from yarddesk.desktop import words
from yarddesk.desktop.actions import Actions
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.core import Core, SignInResult
from yarddesk.desktop.dialogs.add_upstream import AddUpstream, NewUpstream
from yarddesk.desktop.dialogs.confirm import (
    cancel_all_question,
    overwrite_question,
    quit_question,
    remove_upstream_question,
)
from yarddesk.desktop.dialogs.details import Details, history_details, job_details
from yarddesk.desktop.dialogs.frame import Dialog
from yarddesk.desktop.dialogs.other_tag import OtherTag
from yarddesk.desktop.dialogs.sign_in import SignIn
from yarddesk.desktop.tasks import Tasks
from yarddesk.desktop.tray import Tray
from yarddesk.desktop.views.window import MainWindow
from yarddesk.errors import YarddeskError
from yarddesk.events import HookFailed
from yarddesk.oci.name import Tag
from yarddesk.settings.model import UpstreamSettings
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot

NO_TRAY = "This desktop has no tray, so the window stays."
NO_TRAY_HINT = (
    "yarddesk goes on syncing while it is minimised. Quitting ends it; what is pending goes on at the next start."
)


class Shell(QObject):
    """Owns everything that is seen. `quit_now` is called once the person wants to quit, and was asked where need be."""

    def __init__(
        self,
        core: Core,
        quit_now: Callable[[], None],
        *,
        tray_is_there: Callable[[], bool] = QSystemTrayIcon.isSystemTrayAvailable,
    ) -> None:
        super().__init__()
        self._core = core
        self._quit_now = quit_now
        self._told_of_no_tray = False
        self._dialogs: dict[str, Dialog] = {}
        self.tasks = Tasks(self)
        self.bridge = Bridge(core, self)
        self.actions = Actions(core, self.bridge, self.tasks, self)
        self.window = MainWindow(self.bridge, self.actions, self.tasks)
        self.tray = Tray(self.bridge, self.actions, self, is_there=tray_is_there)
        self._connect()

    def start(self, *, minimized: bool) -> None:
        """Show the tray's icon and, unless the person wants the tray alone, the window."""
        self.tray.start()
        self._core.show_window = self.show_window
        if not minimized:
            self.window.show()
        elif not self.tray.is_available:
            self.window.showMinimized()

    def show_window(self, page: str = "") -> None:
        """Bring the window to the front, whatever became of it."""
        window = self.window
        if page:
            window.show_page(page)
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.show()
        window.raise_()
        window.activateWindow()

    async def close(self) -> None:
        """Take everything off the screen; nothing of it hears of the core any more."""
        self._core.show_window = None
        self.bridge.close()
        await self.tasks.close()
        for dialog in tuple(self._dialogs.values()):
            dialog.reject()
        self.tray.close()
        self.window.hide()
        self.window.deleteLater()

    @property
    def dialogs(self) -> tuple[Dialog, ...]:
        """Those that are open."""
        return tuple(self._dialogs.values())

    def _connect(self) -> None:
        actions = self.actions
        actions.page_wanted.connect(self.show_window)
        actions.cancel_all_asked.connect(self._ask_cancel_all)
        actions.quit_asked.connect(self.ask_quit)
        actions.add_upstream_asked.connect(self._ask_upstream)
        actions.sign_in_asked.connect(self._ask_sign_in)
        actions.overwrite_asked.connect(self._ask_overwrite)
        actions.other_tag_asked.connect(self._ask_other_tag)
        actions.details_asked.connect(self._show_details)
        self.bridge.hook_failed.connect(self._on_hook_failed)
        self.window.close_wanted.connect(self._on_close_wanted)
        self.window.became_visible.connect(self._on_visibility)
        self.window.banner.details_wanted.connect(self._show_text)
        self.window.banner.button_pressed.connect(self._on_banner_button)
        self.window.queue_page.add_wanted.connect(self._add_first_upstream)
        page = self.window.upstreams_page
        page.sign_in_wanted.connect(self._ask_sign_in)
        page.sign_out_wanted.connect(self._sign_out)
        page.remove_wanted.connect(self._ask_remove)
        self.tray.clicked.connect(self._on_tray_clicked)
        self.tray.available_changed.connect(self._on_tray_available)

    # The window and the tray

    def _on_visibility(self, visible: bool) -> None:
        if visible:
            self.bridge.watch("window")
        else:
            self.bridge.unwatch("window")

    def _on_close_wanted(self) -> None:
        self.tray.look()
        if self.tray.is_available:
            self.window.hide()
        elif self._told_of_no_tray and self.window.banner.isVisible():
            self.window.showMinimized()
        else:
            self._told_of_no_tray = True
            self.window.show_notice(NO_TRAY, NO_TRAY_HINT, (("minimise", "Minimise"), ("quit", "Quit")))

    def _on_banner_button(self, key: str) -> None:
        if key == "minimise":
            self.window.showMinimized()
        elif key == "quit":
            self.ask_quit()

    def _on_tray_clicked(self) -> None:
        # On macOS a click opens the menu, and shall do nothing else.
        if sys.platform == "darwin":
            return
        if self.window.isVisible() and self.window.isActiveWindow() and not self.window.isMinimized():
            self.window.hide()
        else:
            self.show_window()

    def _on_tray_available(self, available: bool) -> None:
        if not available and not self.window.isVisible():
            # The panel ended: without this there would be no way back to the window.
            self.window.showMinimized()

    def _on_hook_failed(self, event: HookFailed) -> None:
        again = "" if event.over else " It’s tried again."
        image, reason = words.plain(event.image, 120), words.plain(event.reason, 300)
        self.window.toast.say(f"{image} arrived, but the {event.what} could not be told: {reason}{again}")

    # Questions

    def ask_quit(self) -> None:
        """Quit; where pushes are pending, ask first."""
        question = quit_question(self._core.sync.snapshot(), self._parent())
        if question is None:
            self._quit_now()
            return
        question.confirmed.connect(self._quit_now)
        self._open("quit", question)

    def _ask_cancel_all(self) -> None:
        question = cancel_all_question(self.bridge.snapshot, self._parent())
        question.confirmed.connect(self.actions.cancel_everything)
        self._open("cancel all", question)

    def _ask_overwrite(self, job: JobSnapshot) -> None:
        question = overwrite_question(job, self._parent())
        question.confirmed.connect(lambda: self.actions.overwrite(job))
        self._open(f"overwrite {job.id}", question)

    def _ask_other_tag(self, job: JobSnapshot) -> None:
        dialog = OtherTag(job, self._parent())
        key = f"other tag {job.id}"

        def sync(tag: Tag) -> None:
            self.tasks.spawn(
                self.actions.sync_as(job, tag),
                what=f"Syncing {job.name} as {tag}",
                done=lambda said: self._on_other_tag(key, said),
                failed=lambda error: dialog.show_wrong(str(error)) if self._dialogs.get(key) is dialog else None,
            )

        dialog.given.connect(sync)
        self._open(key, dialog)

    def _on_other_tag(self, key: str, said: str) -> None:
        dialog = self._dialogs.get(key)
        if dialog is not None:
            dialog.accept()
        self.window.toast.say(said)

    def _ask_remove(self, name: str) -> None:
        question = remove_upstream_question(name, self._parent())

        def remove() -> None:
            self.tasks.spawn(self._core.remove_upstream(name), what=f"Removing {name}")

        question.confirmed.connect(remove)
        self._open(f"remove {name}", question)

    def _ask_upstream(self) -> None:
        dialog = AddUpstream(self._core.address, self._parent())
        dialog.given.connect(self._add_upstream)
        self._open("add upstream", dialog)

    def _add_upstream(self, wanted: NewUpstream) -> None:
        self.tasks.spawn(
            self._core.add_upstream(wanted.url, prefix=wanted.prefix, push=wanted.push, pull=wanted.pull),
            what="Adding the upstream",
            done=self._on_upstream_added,
            failed=self._on_upstream_refused,
        )

    def _on_upstream_added(self, upstream: UpstreamSettings) -> None:
        dialog = self._dialogs.get("add upstream")
        if dialog is not None:
            dialog.accept()
        self.bridge.upstreams_changed.emit()
        self.window.toast.say(f"{upstream.name} added")

    def _on_upstream_refused(self, error: YarddeskError) -> None:
        dialog = self._dialogs.get("add upstream")
        if isinstance(dialog, AddUpstream):
            dialog.show_wrong(str(error))

    def _add_first_upstream(self, url: str) -> None:
        page = self.window.queue_page.no_upstream
        self.tasks.spawn(
            self._core.add_upstream(url, push=True),
            what="Adding the upstream",
            done=self._on_upstream_added,
            failed=lambda error: page.show_wrong(words.plain(str(error), 400)),
        )

    # Credentials

    def _ask_sign_in(self, upstream: str, reason: str) -> None:
        registry = next((each.registry for each in self._core.upstreams() if each.name == upstream), upstream)
        dialog = SignIn(registry, reason, self._parent())
        key = f"sign in {upstream}"

        def give(user: str, password: Secret) -> None:
            self.tasks.spawn(
                self._core.sign_in(upstream, user, password),
                what=f"Signing in to {registry}",
                done=lambda result: self._on_signed_in(key, registry, result),
                failed=lambda error: self._on_sign_in_refused(key, error),
            )

        dialog.given.connect(give)
        self._open(key, dialog)

    def _on_signed_in(self, key: str, registry: str, result: SignInResult) -> None:
        dialog = self._dialogs.get(key)
        if dialog is not None:
            dialog.accept()
        self.bridge.refresh()
        if result.checked:
            self.window.toast.say(f"Signed in to {registry}")
        else:
            self.window.show_notice(
                f"Kept, but not checked: {registry} is out of reach.", words.sentence(result.reason), ()
            )

    def _on_sign_in_refused(self, key: str, error: YarddeskError) -> None:
        dialog = self._dialogs.get(key)
        if isinstance(dialog, SignIn):
            # The hint of a refusal is to sign in, which the person is about to do.
            refused = isinstance(error, UpstreamDenied)
            dialog.show_wrong(_in_its_words(error) if refused else str(error))

    def _sign_out(self, upstream: str) -> None:
        self.tasks.spawn(
            self._core.sign_out(upstream),
            what=f"Signing out of {upstream}",
            done=lambda had: self.window.toast.say(
                f"Signed out of {upstream}" if had else f"There was nothing kept for {upstream}"
            ),
        )

    # Details

    def _show_details(self, subject: object) -> None:
        now = self.bridge.now()
        if isinstance(subject, JobSnapshot):
            self._show_text(subject.name, job_details(subject, now))
        elif isinstance(subject, HistoryEntry):
            self._show_text(subject.name, history_details(subject, now))

    def _show_text(self, title: str, text: str) -> None:
        dialog = Details(words.plain(title, 120), text, self._parent())
        dialog.copied.connect(self.actions.copy)
        self._open(f"details {title}", dialog)

    # Dialogs

    def _parent(self) -> QWidget | None:
        """A dialog belongs to the window where that is to be seen; over the tray alone it stands for itself."""
        return self.window if self.window.isVisible() and not self.window.isMinimized() else None

    def _open(self, key: str, dialog: Dialog) -> None:
        """Open it, or bring the one that asks the same to the front."""
        there = self._dialogs.get(key)
        if there is not None:
            dialog.deleteLater()
            there.raise_()
            there.activateWindow()
            return
        self._dialogs[key] = dialog
        dialog.setProperty("key", key)
        dialog.finished.connect(self._on_dialog_finished)
        dialog.open()
        if dialog.parent() is None:
            dialog.move(_middle_of_screen(dialog))
            dialog.raise_()
            dialog.activateWindow()

    def _on_dialog_finished(self) -> None:
        dialog = self.sender()
        if dialog is not None:
            self._dialogs.pop(dialog.property("key"), None)


def _middle_of_screen(dialog: Dialog) -> QPoint:
    screen = QGuiApplication.primaryScreen().availableGeometry()
    return screen.center() - dialog.rect().center()


def _in_its_words(error: YarddeskError) -> str:
    """A refusal with what the registry says to it, which is seldom a sentence."""
    return words.sentence(f"{error.title.rstrip('.')}: {error.message}" if error.message else error.title)
