"""A few words for a moment, over the content: something worked that leaves no other trace."""

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtWidgets import QLabel, QWidget

from yarddesk.desktop import words

SHORTEST_MILLISECONDS = 2500
MILLISECONDS_A_CHARACTER = 50


class Toast(QLabel):
    """Lies over its parent's lower edge, lets the mouse through, and is read out."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("toast")
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(False)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        self._over = parent
        parent.installEventFilter(self)
        self.hide()

    def say(self, text: str) -> None:
        shown = words.plain(text, 300)
        self.setText(shown)
        self.setAccessibleName(shown)
        self._place()
        self.show()
        self.raise_()
        self._timer.start(max(SHORTEST_MILLISECONDS, MILLISECONDS_A_CHARACTER * len(shown)))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return False

    def _place(self) -> None:
        room = self._over.width() - 48
        self.setWordWrap(False)
        if self.sizeHint().width() > room:
            self.setWordWrap(True)
            self.setFixedWidth(room)
        else:
            self.setFixedWidth(self.sizeHint().width())
        self.adjustSize()
        left = (self._over.width() - self.width()) // 2
        self.move(left, self._over.height() - self.height() - 24)
