"""Another tag for an image whose own somebody else moved upstream."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.dialogs.frame import Dialog, field_label, form, wrong_label
from yarddesk.desktop.views.parts import Button
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import Tag
from yarddesk.sync.snapshot import JobSnapshot


class OtherTag(Dialog):
    """`given` carries a Tag; the dialog waits to be accepted, or for `show_wrong`."""

    given = Signal(object)

    def __init__(self, job: JobSnapshot, parent: QWidget | None = None) -> None:
        text = "What was pushed here goes up under this tag; the other one stays there as it is."
        super().__init__(f"Another tag for {words.plain(job.name, 120)}", text, parent)
        self._taken = job.reference
        self.tag = QLineEdit()
        self.tag.setAccessibleName("Tag")
        fields = form()
        fields.addRow(field_label("Tag", self.tag), self.tag)
        self.body.addLayout(fields)
        self._wrong = wrong_label()
        self.body.addWidget(self._wrong)
        self.cancel_button = Button("Cancel")
        self.sync_button = Button("Sync", face="main")
        self.sync_button.setDefault(True)
        self.add_foot(self.cancel_button, self.sync_button)
        self.cancel_button.clicked.connect(self.reject)
        self.sync_button.clicked.connect(self._on_sync)
        self.tag.textChanged.connect(self._on_text)
        self._on_text()

    def show_wrong(self, text: str) -> None:
        """Why it was not taken; the person can try again."""
        self._wrong.setText(words.plain(text, 400))
        self._wrong.setVisible(bool(text))
        self._on_text()
        self.tag.setFocus()
        self.fit()

    def _on_text(self) -> None:
        text = self.tag.text().strip()
        self.sync_button.setEnabled(bool(text) and text != self._taken)

    def _on_sync(self) -> None:
        self._wrong.hide()
        try:
            tag = Tag.parse(self.tag.text().strip())
        except YarddeskError as error:
            self.show_wrong(str(error))
            return
        self.sync_button.setEnabled(False)
        self.given.emit(tag)
