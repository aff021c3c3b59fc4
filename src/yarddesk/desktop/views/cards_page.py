"""A page of the window that shows cards, one below the other."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from yarddesk.desktop.views.parts import page_head


class CardsPage(QScrollArea):
    """The cards go into `_cards`; what a page has besides is given to `_lay_out`, once."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._cards = QVBoxLayout()
        self._cards.setSpacing(12)

    def _lay_out(
        self, title: str, about: str, button: QWidget, *, above: Sequence[QWidget] = (), below: Sequence[QWidget] = ()
    ) -> QVBoxLayout:
        content = QWidget()
        content.setObjectName("cards")
        column = QVBoxLayout(content)
        column.setContentsMargins(20, 12, 20, 20)
        column.setSpacing(12)
        column.addLayout(page_head(title, about, button))
        for widget in above:
            column.addWidget(widget)
        column.addLayout(self._cards)
        for widget in below:
            column.addWidget(widget)
        column.addStretch(1)
        self.setWidget(content)
        return column

    def _drop(self, card: QWidget) -> None:
        self._cards.removeWidget(card)
        card.hide()
        card.deleteLater()
