"""Why yarddesk could not start, and what to do about it, for whoever started it without a terminal."""

from PySide6.QtCore import QEvent, QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from yarddesk.desktop import words
from yarddesk.desktop.dialogs.frame import Dialog
from yarddesk.desktop.views.parts import Button, paragraph
from yarddesk.errors import YarddeskError

WAITS_SECONDS = 10
_SOMEBODY_IS_THERE = (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress, QEvent.Type.MouseMove)


class StartTrouble(Dialog):
    """`answered` carries whether to try again. Nobody there: it closes by itself; a key, a click or the mouse over it stops that."""

    answered = Signal(bool)

    def __init__(self, error: YarddeskError, parent: QWidget | None = None) -> None:
        super().__init__("yarddesk could not start", words.plain(error.title, 600), parent, width=460)
        if error.message:
            self.body.addWidget(paragraph(words.plain(error.message, 600)))
        if error.hint:
            self.body.addWidget(paragraph(words.plain(error.hint, 600), role=""))
        self.close_button = Button("Close")
        self.again_button = Button("Try again", face="main")
        self.again_button.setDefault(True)
        self.add_foot(self.close_button, self.again_button)
        self.close_button.clicked.connect(self.reject)
        self.again_button.clicked.connect(self.accept)
        self.finished.connect(self._on_finished)
        self._left = WAITS_SECONDS
        self._timer = QTimer(self)
        self._timer.setInterval(1000)
        self._timer.timeout.connect(self._on_second)
        self._timer.start()
        self._show_left()
        self.setMouseTracking(True)
        for widget in (self, self.close_button, self.again_button):
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in _SOMEBODY_IS_THERE and self._timer.isActive():
            self._timer.stop()
            self.close_button.setText("Close")
        return super().eventFilter(watched, event)

    def _on_second(self) -> None:
        self._left -= 1
        self._show_left()
        if self._left <= 0:
            self.reject()

    def _show_left(self) -> None:
        self.close_button.setText(f"Close ({self._left} s)")

    def _on_finished(self, result: int) -> None:
        self.answered.emit(bool(result))
