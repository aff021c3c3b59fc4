"""A question before something that can't be undone."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from yarddesk.desktop import words
from yarddesk.desktop.dialogs.frame import Dialog
from yarddesk.desktop.views.parts import Button
from yarddesk.sync.snapshot import JobSnapshot, SyncSnapshot


class Confirm(Dialog):
    """`confirmed` is the answer yes; closing it in any way is no. Where yes `loses` something, Return says no."""

    confirmed = Signal()

    def __init__(
        self, title: str, text: str, yes: str, no: str, parent: QWidget | None = None, *, loses: bool = True
    ) -> None:
        super().__init__(title, text, parent)
        self.no_button = Button(no, face="main" if loses else "")
        self.yes_button = Button(yes, face="danger" if loses else "main")
        self.add_foot(self.no_button, self.yes_button)
        self.no_button.clicked.connect(self.reject)
        self.yes_button.clicked.connect(self._on_yes)
        default = self.no_button if loses else self.yes_button
        default.setDefault(True)
        default.setFocus()

    def _on_yes(self) -> None:
        self.confirmed.emit()
        self.accept()


def quit_question(snapshot: SyncSnapshot, parent: QWidget | None = None) -> Confirm | None:
    """What to ask before quitting; None where nothing is pending."""
    pending = sum(any(not part.state.is_over for part in job.parts) for job in snapshot.jobs)
    if not pending:
        return None
    images = words.count(pending, "image is", "images are")
    left = f" ({words.size(snapshot.bytes_left)} left)" if snapshot.bytes_left else ""
    text = (
        f"{images} still on the way{left}. They are kept, and go on when yarddesk starts next time. "
        "Until then nothing can be pushed to or pulled from here."
    )
    if pending == 1:
        text = text.replace("They are kept, and go on", "It is kept, and goes on")
    return Confirm("Quit while pushes are pending?", text, "Quit", "Stay", parent, loses=False)


def overwrite_question(job: JobSnapshot, parent: QWidget | None = None) -> Confirm:
    """What to ask before a tag that somebody else moved is moved again: nobody here can give it back."""
    moved = [part for part in job.parts if part.conflict is not None]
    there = words.listed(
        [f"{words.plain(part.registry, 80)} ({part.conflict.short})" for part in moved if part.conflict]
    )
    text = (
        f"Somebody moved it at {there} since it was last seen there. It will name what was pushed here ({job.digest.short}). "
        "What it names now is not deleted; the history keeps its digest."
    )
    return Confirm(f"Overwrite {words.plain(job.name, 120)}?", text, "Overwrite", "Leave it", parent)


def cancel_all_question(snapshot: SyncSnapshot, parent: QWidget | None = None) -> Confirm:
    """What to ask before the whole queue goes."""
    images = words.count(len(snapshot.jobs), "image")
    text = f"{images} won’t be synced. What was pushed stays here; to sync it after all, push it again."
    return Confirm(f"Cancel {images}?", text, "Cancel all", "Keep them", parent)


def remove_upstream_question(name: str, parent: QWidget | None = None) -> Confirm:
    """What to ask before an upstream is taken out of the settings."""
    text = (
        "It is taken out of the settings file. Images stay here, and nothing is deleted there; "
        "what still waits for it stays in the queue."
    )
    return Confirm(f"Remove {words.plain(name, 80)}?", text, "Remove", "Keep it", parent)
