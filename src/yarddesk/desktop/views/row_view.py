"""A list of rows that open: mouse, keyboard and context menu reach the same actions."""

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QItemSelectionModel, QModelIndex, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QAction, QContextMenuEvent, QFocusEvent, QHelpEvent, QKeyEvent, QKeySequence, QMouseEvent
from PySide6.QtWidgets import QAbstractItemView, QMenu, QToolTip, QTreeView, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.actions import DECISIONS, JOB_DEEDS, PINNING, JobAction, applicable, told
from yarddesk.desktop.icons import glyph_icon
from yarddesk.desktop.models.rows_model import Index, Role, RowsModel
from yarddesk.desktop.theme import tokens
from yarddesk.desktop.views.row_delegate import DECIDE, SETTINGS, RowDelegate, label_of, layout_of
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot

CHEVRON = "chevron"
Move = QAbstractItemView.CursorAction
_UPWARDS = (Move.MoveUp, Move.MovePageUp, Move.MovePrevious)
_MOVING_KEYS = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End)
_KEYBOARD_REASONS = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


class RowView(QTreeView):
    """Shows a RowsModel. What is asked for goes out as signals; nothing is done here."""

    job_action = Signal(object, object)
    """A JobAction and its JobSnapshot."""
    details_wanted = Signal(object)
    """A JobSnapshot or HistoryEntry."""
    pin_wanted = Signal(object, bool)
    """A JobSnapshot or HistoryEntry, and whether it's to stay here."""
    chosen = Signal()
    """Another row is chosen, or what it says changed."""

    def __init__(self, rows: RowsModel, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("rows")
        self.setAccessibleName(name)
        self.is_pinned: Callable[[JobSnapshot | HistoryEntry], bool] = lambda _: False
        self._rows = rows
        self._delegate = RowDelegate(self)
        self._pressed: tuple[str, JobAction | str] | None = None
        self.setModel(rows)
        # None is the current row until somebody says so. Else Qt makes it the first that is there when the focus comes, unseen,
        # and the first key would go to it, though others stand above by then.
        self.setCurrentIndex(QModelIndex())
        self.setItemDelegate(self._delegate)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(False)
        self.setIndentation(0)
        self.setExpandsOnDoubleClick(False)
        self.setMouseTracking(True)
        self.setFrameShape(QTreeView.Shape.NoFrame)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setUniformRowHeights(False)
        self.verticalScrollBar().setSingleStep(16)
        self.selectionModel().selectionChanged.connect(self._on_choice)
        rows.dataChanged.connect(self._on_choice)
        rows.rowsMoved.connect(self._on_moved)

    def current_job(self) -> JobSnapshot | None:
        """The image whose row, or one of whose layers' rows, is chosen."""
        chosen = self.selectedIndexes()
        subject = self._rows.subject_of(chosen[0]) if chosen else None
        return subject if isinstance(subject, JobSnapshot) else None

    def applicable(self, job: JobSnapshot) -> tuple[JobAction, ...]:
        """What can be done to an image of this list."""
        return applicable(job, self._rows.jobs())

    def lowest_row(self) -> int:
        """How far down somebody looks, or has chosen a row; counted from above, layers aside."""
        seen = self.indexAt(QPoint(1, max(0, self.viewport().height() - 1)))
        return max([_top(index).row() for index in (seen, *self.selectedIndexes()) if index.isValid()], default=0)

    def choose(self, key: str) -> None:
        """Make the row of that key the current one, and bring it into view."""
        index = self._rows.index_of(key)
        if index.isValid():
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def button_at(self, place: QPoint) -> tuple[QModelIndex, JobAction | str] | None:
        """The painted button at a place in the viewport: an action, or the one that opens the row."""
        index = self.indexAt(place)
        subject = index.data(Role.SUBJECT) if index.isValid() else None
        if not isinstance(subject, JobSnapshot):
            return None
        where = layout_of(self.visualRect(index), index.data(Role.ROW), subject)
        if where.labelled.contains(place):
            return index, _labelled(subject)
        if where.chevron.contains(place) and self._rows.rowCount(index):
            return index, CHEVRON
        for action, rect in where.buttons:
            if rect.contains(place):
                return index, action
        return None

    def button_rect(self, index: QModelIndex, action: JobAction | str) -> QRect:
        """Where a row's painted button is in the viewport; empty where it has none."""
        subject = index.data(Role.SUBJECT)
        if not isinstance(subject, JobSnapshot):
            return QRect()
        where = layout_of(self.visualRect(index), index.data(Role.ROW), subject)
        rects: dict[JobAction | str, QRect] = {_labelled(subject): where.labelled, CHEVRON: where.chevron}
        rects.update(where.buttons)
        return rects.get(action, QRect())

    # What Qt calls

    def doItemsLayout(self) -> None:
        self._delegate.forget_sizes()
        super().doItemsLayout()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover(event.position().toPoint())
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self._hover(QPoint(-1, -1))
        super().leaveEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        by_keyboard = event.reason() in _KEYBOARD_REASONS
        self._delegate.shows_focus = by_keyboard
        if by_keyboard and not self.selectedIndexes():
            self._choose_first()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._delegate.shows_focus = False
        found = self.button_at(event.position().toPoint())
        if found and event.button() is Qt.MouseButton.LeftButton:
            # Remembered by the row's key: another row may have come in above by the time of the release.
            self._pressed = (self._rows.key_of(found[0]), found[1])
            event.accept()
            return
        self._pressed = None
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        pressed, self._pressed = self._pressed, None
        if pressed is None:
            super().mouseReleaseEvent(event)
            return
        found = self.button_at(event.position().toPoint())
        if found and (self._rows.key_of(found[0]), found[1]) == pressed:
            self._use(*found)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        place = event.position().toPoint()
        if self.button_at(place):
            self.mousePressEvent(event)
        elif event.button() is Qt.MouseButton.LeftButton:
            self._open_or_tell(self.indexAt(place))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        self._delegate.shows_focus = True
        if event.key() in _MOVING_KEYS and not self.selectedIndexes() and not self._is_title(self.currentIndex()):
            self._choose_first()
            if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
                return
        index = self.currentIndex()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._open_or_tell(index)
            return
        pressed = QKeySequence(event.keyCombination())
        job = self.current_job()
        for action in self.applicable(job) if job else ():
            deed = JOB_DEEDS[action]
            if deed.shortcut and pressed == QKeySequence(deed.shortcut):
                self.job_action.emit(action, job)
                return
        subject = self._rows.subject_of(index)
        if isinstance(subject, HistoryEntry) and pressed == QKeySequence(JOB_DEEDS[JobAction.DETAILS].shortcut):
            self.details_wanted.emit(subject)
            return
        if event.key() == Qt.Key.Key_Space or pressed == QKeySequence(JOB_DEEDS[JobAction.MOVE_UP].shortcut):
            return  # QTreeView would open and close the row, or choose the one above
        super().keyPressEvent(event)

    def moveCursor(self, action: Move, modifiers: Qt.KeyboardModifier) -> QModelIndex:
        """Titles are passed by: QTreeView would stay with one, where nothing can be chosen."""
        index = super().moveCursor(action, modifiers)
        if not self._is_title(index):
            return index
        upwards = action in _UPWARDS
        found = self._beside(index, upwards=upwards) or self._beside(index, upwards=not upwards)
        if (upwards or action is Move.MoveHome) and self._beside(index, upwards=True) is None:
            self.scrollToTop()  # the title above the first row is to be seen again, too
        return found or QModelIndex()

    def _beside(self, index: QModelIndex, *, upwards: bool) -> QModelIndex | None:
        """The next row that can be chosen, from a title; two of these may follow each other."""
        while self._is_title(index):
            index = self.indexAbove(index) if upwards else self.indexBelow(index)
        return index if index.isValid() else None

    def _is_title(self, index: QModelIndex) -> bool:
        return index.isValid() and not index.flags() & Qt.ItemFlag.ItemIsSelectable

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_mouse = event.reason() is QContextMenuEvent.Reason.Mouse
        index = self.indexAt(event.pos()) if by_mouse else self.currentIndex()
        if not index.isValid():
            return
        self.setCurrentIndex(index)
        place = event.globalPos() if by_mouse else self.viewport().mapToGlobal(self.visualRect(index).center())
        menu = self.context_menu(index)
        if menu is not None:
            menu.popup(place)

    def context_menu(self, index: QModelIndex) -> QMenu | None:
        """The actions of a row; None for a title. Deletes itself when it closes."""
        subject = self._rows.subject_of(index)
        if not isinstance(subject, (JobSnapshot, HistoryEntry)):
            return None
        fitting = self.applicable(subject) if isinstance(subject, JobSnapshot) else (JobAction.DETAILS,)
        at = fitting.index(JobAction.DETAILS)
        pinning = JobAction.UNPIN if self.is_pinned(subject) else JobAction.PIN
        return self._menu(subject, (*fitting[:at], pinning, *fitting[at:]))

    def decision_menu(self, index: QModelIndex) -> QMenu | None:
        """What a person can decide about a row's image; None for any other row. Deletes itself when it closes."""
        subject = self._rows.subject_of(index)
        return self._menu(subject, DECISIONS) if isinstance(subject, JobSnapshot) else None

    def _menu(self, subject: JobSnapshot | HistoryEntry, actions: Sequence[JobAction]) -> QMenu:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for action in actions:
            deed = JOB_DEEDS[action]
            if action is JobAction.DETAILS and len(actions) > 1:
                menu.addSeparator()
            item = menu.addAction(glyph_icon(deed.glyph, tokens().text), deed.text)
            item.setShortcut(QKeySequence(deed.shortcut))
            item.setShortcutVisibleInContextMenu(True)
            item.setData((action, subject))
        menu.triggered.connect(self._on_menu)
        return menu

    def rowsAboutToBeRemoved(self, parent: Index, start: int, end: int) -> None:
        """Qt would choose the next row: a key that was meant for the one that just went would then hit another image."""
        chosen = self.selectedIndexes()
        top = _top(chosen[0]) if chosen else QModelIndex()
        goes = not parent.isValid() and top.isValid() and start <= top.row() <= end
        super().rowsAboutToBeRemoved(parent, start, end)
        if goes or not chosen:
            self.clearSelection()

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            found = self.button_at(event.pos())
            if found:
                QToolTip.showText(event.globalPos(), words.tooltip(self._told(*found)), self)
                return True
        return super().viewportEvent(event)

    def _choose_first(self) -> None:
        """The row that is the current one though nothing is chosen, as where another has just gone; else the uppermost."""
        rows = self.currentIndex(), self._rows.index(0, 0), self._rows.index(1, 0)
        index = next((row for row in rows if row.flags() & Qt.ItemFlag.ItemIsSelectable), None)
        if index is not None:
            self.setCurrentIndex(index)
            self.selectionModel().select(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def _use(self, index: QModelIndex, button: JobAction | str) -> None:
        if button == CHEVRON:
            self.setExpanded(index, not self.isExpanded(index))
        elif button == DECIDE:
            self.setCurrentIndex(index)
            menu = self.decision_menu(index)
            if menu is not None:
                menu.popup(self.viewport().mapToGlobal(self.button_rect(index, DECIDE).bottomLeft()))
        else:
            self.job_action.emit(button, self._rows.subject_of(index))

    def _open_or_tell(self, index: QModelIndex) -> None:
        """A row with layers opens and closes; any other shows its details."""
        if index.isValid() and not index.parent().isValid() and self._rows.rowCount(index):
            self.setExpanded(index, not self.isExpanded(index))
            return
        subject = self._rows.subject_of(index)
        if isinstance(subject, (JobSnapshot, HistoryEntry)):
            self.details_wanted.emit(subject)

    def _told(self, index: QModelIndex, button: JobAction | str) -> str:
        if isinstance(button, JobAction):
            subject = self._rows.subject_of(index)
            return told(subject, button) if isinstance(subject, JobSnapshot) else ""
        if button == DECIDE:
            return "Keep theirs, overwrite it, or sync under another tag"
        return "Hide its layers" if self.isExpanded(index) else "Show its layers"

    def _hover(self, place: QPoint) -> None:
        found = self.button_at(place)
        button = found[1] if found else None
        if button != self._delegate.hovered_button:
            self._delegate.hovered_button = button
            self.viewport().update()
        shape = Qt.CursorShape.PointingHandCursor if found else Qt.CursorShape.ArrowCursor
        if self.viewport().cursor().shape() is not shape:
            self.viewport().setCursor(shape)

    def _on_menu(self, item: QAction) -> None:
        action, subject = item.data()
        if action in PINNING:
            self.pin_wanted.emit(subject, action is JobAction.PIN)
        elif isinstance(subject, JobSnapshot):
            self.job_action.emit(action, subject)
        else:
            self.details_wanted.emit(subject)

    def _on_moved(self) -> None:
        """What a person just moved up stays in sight."""
        self.chosen.emit()
        if self.selectedIndexes() and self.selectedIndexes()[0].row() == 0:
            self.scrollTo(self.selectedIndexes()[0])

    def _on_choice(self) -> None:
        self.chosen.emit()


def _top(index: QModelIndex) -> QModelIndex:
    """The row itself, or that of the image whose layer it is."""
    return index.parent() if index.parent().isValid() else index


def _labelled(job: JobSnapshot) -> JobAction | str:
    """What the button with words of a row is for."""
    label = label_of(job)
    if label == SETTINGS:
        return JobAction.OPEN_SETTINGS
    return DECIDE if label == DECIDE else JobAction.SIGN_IN
