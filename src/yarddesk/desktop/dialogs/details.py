"""All that is known about one thing, as text that can be copied."""

from datetime import datetime

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from yarddesk.desktop import theme, words
from yarddesk.desktop.dialogs.frame import Dialog
from yarddesk.desktop.models.row import part_status, plan
from yarddesk.desktop.views.parts import Button
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot


class Details(Dialog):
    """`copied` carries the text when the person asks for it."""

    copied = Signal(str)

    def __init__(self, title: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent=parent, width=640)
        self.text = QPlainTextEdit(text)
        self.text.setObjectName("details")
        self.text.setReadOnly(True)
        self.text.setFont(theme.fixed_font(-0.5))
        self.text.setAccessibleName("Details")
        self.text.setTabChangesFocus(True)
        self.text.setMinimumHeight(200)
        self.body.addWidget(self.text, 1)
        self.copy_button = Button("Copy")
        self.close_button = Button("Close", face="main")
        self.close_button.setDefault(True)
        self.add_foot(self.copy_button, self.close_button)
        self.copy_button.clicked.connect(self._on_copy)
        self.close_button.clicked.connect(self.accept)
        self.close_button.setFocus()

    def _on_copy(self) -> None:
        self.copied.emit(self.text.toPlainText())


def job_details(job: JobSnapshot, now: datetime) -> str:
    """A line for each fact; blank lines between the upstreams."""
    lines = [
        f"digest      {job.digest}",
        f"pushed      {words.moment_with_time(job.created, now)}",
        f"generation  {job.generation}",
    ]
    for part in job.parts:
        lines += ["", f"{part.upstream} ({part.registry})" if part.upstream != part.registry else part.registry]
        lines.append(f"  state   {part.state}: {part_status(part, now)}")
        lines.append(f"  tries   {part.tries}")
        if part.next_attempt is not None:
            lines.append(f"  next    {words.until((part.next_attempt - now).total_seconds())}")
        if part.progress is not None:
            lines.append(f"  bytes   {words.size_of(part.bytes_done, part.progress.bytes_total)}")
        elif part.size is not None:
            lines.append(f"  bytes   {words.size(part.size)}")
        if part.plan is not None:
            lines.append(f"  plan    {plan(part) or 'nothing to send'}")
        if part.reason:
            lines.append(f"  reason  {words.plain(part.reason)}")
    return "\n".join(lines)


def history_details(entry: HistoryEntry, now: datetime) -> str:
    """A line for each fact."""
    if entry.hook:
        return "\n".join(
            (
                f"outcome   it arrived; the {entry.hook} (sync.on_synced.{entry.hook}) could not be told",
                f"upstream  {words.plain(entry.registry, 80)}",
                f"digest    {entry.digest}",
                f"at        {words.moment_with_time(entry.at, now)}",
                f"reason    {words.plain(entry.reason)}",
            )
        )
    lines = [
        f"outcome   {entry.outcome}",
        f"upstream  {words.plain(entry.registry, 80)}",
        f"digest    {entry.digest}",
        f"at        {words.moment_with_time(entry.at, now)}",
        f"took      {words.duration(entry.seconds)}",
        f"sent      {words.size(entry.bytes_sent)}",
        f"there     {words.size(entry.bytes_saved)}",
        f"tries     {entry.tries}",
    ]
    if entry.replaced is not None:
        lines.append(f"replaced  {entry.replaced}")
    if entry.reason:
        lines.append(f"reason    {words.plain(entry.reason)}")
    if entry.error:
        lines.append(f"before    a try failed: {words.plain(entry.error)}")
    return "\n".join(lines)
