"""A new upstream: where it is, under which names, and which way images go."""

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.dialogs.frame import Dialog, field_label, form, wrong_label
from yarddesk.desktop.views.parts import Button, CheckBox, paragraph


@dataclass(frozen=True, slots=True)
class NewUpstream:
    """What the form says."""

    url: str
    prefix: str
    push: bool
    pull: bool


class AddUpstream(Dialog):
    """`given` carries a NewUpstream; the dialog waits to be accepted, or for `show_wrong`."""

    given = Signal(object)

    def __init__(self, address: str, parent: QWidget | None = None) -> None:
        super().__init__("Add an upstream", "A registry that pulls come from, or that pushes go to.", parent, width=460)
        self._address = address
        self.url = QLineEdit()
        self.url.setPlaceholderText("registry.example.com/team")
        self.url.setAccessibleName("Registry")
        self.prefix = QLineEdit()
        self.prefix.setPlaceholderText("all names")
        self.prefix.setAccessibleName("Only for names that begin with")
        self.push = CheckBox("Sync what is pushed here to it")
        self.push.setChecked(True)
        self.pull = CheckBox("Fetch from it what is pulled and not here")
        self.pull.setChecked(True)
        fields = form()
        fields.addRow(field_label("Registry", self.url), self.url)
        fields.addRow(field_label("Names under", self.prefix), self.prefix)
        self.body.addLayout(fields)
        self.body.addWidget(self.push)
        self.body.addWidget(self.pull)
        self._route = paragraph()
        self.body.addWidget(self._route)
        self._wrong = wrong_label()
        self.body.addWidget(self._wrong)
        self.cancel_button = Button("Cancel")
        self.add_button = Button("Add upstream", face="main")
        self.add_button.setDefault(True)
        self.add_foot(self.cancel_button, self.add_button)
        self.cancel_button.clicked.connect(self.reject)
        self.add_button.clicked.connect(self._on_add)
        for field in (self.url, self.prefix):
            field.textChanged.connect(self._on_change)
        for box in (self.push, self.pull):
            box.toggled.connect(self._on_change)
        self._on_change()

    def show_wrong(self, text: str) -> None:
        """Why it was not taken; the person can try again."""
        self._wrong.setText(words.plain(text, 400))
        self._wrong.setVisible(bool(text))
        self._on_change()
        self.url.setFocus()
        self.fit()

    def _on_change(self) -> None:
        url = self.url.text().strip()
        self.add_button.setEnabled(bool(url) and (self.push.isChecked() or self.pull.isChecked()))
        self._route.setText(self._route_in_words(url))

    def _route_in_words(self, url: str) -> str:
        there = words.plain(url.split("://", 1)[-1].strip("/"), 80) or "registry.example.com/team"
        prefix = words.plain(self.prefix.text().strip().strip("/"), 80)
        here = f"{self._address}/{prefix}/app" if prefix else f"{self._address}/app"
        arrow = {(True, True): "↔", (True, False): "→", (False, True): "←"}.get(
            (self.push.isChecked(), self.pull.isChecked())
        )
        return f"{here}  {arrow}  {there}/app" if arrow else "Choose at least one way."

    def _on_add(self) -> None:
        self._wrong.hide()
        self.add_button.setEnabled(False)
        prefix = self.prefix.text().strip().strip("/")
        self.given.emit(NewUpstream(self.url.text().strip(), prefix, self.push.isChecked(), self.pull.isChecked()))
