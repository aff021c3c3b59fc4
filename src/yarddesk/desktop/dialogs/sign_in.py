"""The user and password for a registry; they go into the system's keychain and nowhere else."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from yarddesk.content.credentials import Secret
from yarddesk.desktop import words
from yarddesk.desktop.dialogs.frame import Dialog, field_label, form, wrong_label
from yarddesk.desktop.views.parts import Button, label


class SignIn(Dialog):
    """`given` carries a user name and a Secret; the dialog waits to be accepted, or for `show_wrong`."""

    given = Signal(str, object)

    def __init__(self, registry: str, reason: str = "", parent: QWidget | None = None) -> None:
        shown = words.plain(registry, 80)
        super().__init__(f"Sign in to {shown}", words.sentence(words.plain(reason, 600)), parent)
        self.user = QLineEdit()
        self.user.setAccessibleName("User name")
        self.password = QLineEdit()
        self.password.setAccessibleName("Password or token")
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.password.setInputMethodHints(
            Qt.InputMethodHint.ImhSensitiveData
            | Qt.InputMethodHint.ImhNoAutoUppercase
            | Qt.InputMethodHint.ImhNoPredictiveText
        )
        fields = form()
        fields.addRow(field_label("User name", self.user), self.user)
        fields.addRow(field_label("Password or token", self.password), self.password)
        self.body.addLayout(fields)
        self._wrong = wrong_label()
        self.body.addWidget(self._wrong)
        self.body.addWidget(label("Kept in your system’s keychain.", role="secondary", step=-1))
        self.cancel_button = Button("Cancel")
        self.sign_in_button = Button("Sign in", face="main")
        self.sign_in_button.setDefault(True)
        self.add_foot(self.cancel_button, self.sign_in_button)
        self.cancel_button.clicked.connect(self.reject)
        self.sign_in_button.clicked.connect(self._on_sign_in)
        self.user.textChanged.connect(self._on_text)
        self.password.textChanged.connect(self._on_text)
        self._on_text()

    def show_wrong(self, text: str) -> None:
        """Why it was not taken; the person can try again."""
        self._wrong.setText(words.plain(text, 400))
        self._wrong.setVisible(bool(text))
        self._busy(False)
        self.password.selectAll()
        self.password.setFocus()
        self.fit()

    def done(self, result: int) -> None:
        self.password.clear()
        super().done(result)

    def _on_text(self) -> None:
        self.sign_in_button.setEnabled(bool(self.user.text() and self.password.text()))

    def _on_sign_in(self) -> None:
        self._wrong.hide()
        self._busy(True)
        self.given.emit(self.user.text(), Secret(self.password.text()))

    def _busy(self, busy: bool) -> None:
        self.user.setReadOnly(busy)
        self.password.setReadOnly(busy)
        self.sign_in_button.setText("Asking the registry…" if busy else "Sign in")
        self.sign_in_button.setEnabled(not busy)
