"""Each thing that a person can do, once: its words, glyph and shortcut, when it applies, and what it calls."""

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QAction, QDesktopServices, QGuiApplication, QKeySequence

from yarddesk.desktop import words
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.core import Core
from yarddesk.desktop.tasks import Tasks
from yarddesk.oci.name import ImageReference, Tag, format_reference
from yarddesk.sync.snapshot import ConflictChoice, HistoryEntry, JobSnapshot
from yarddesk.sync.states import JobState

MORNING_HOUR = 8

_NOTHING = ""


class JobAction(StrEnum):
    """What can be done to one image in the queue."""

    SIGN_IN = "sign_in"
    OPEN_SETTINGS = "open_settings"
    KEEP_THEIRS = "keep_theirs"
    OVERWRITE = "overwrite"
    OTHER_TAG = "other_tag"
    RESUME = "resume"
    RETRY = "retry"
    PAUSE = "pause"
    MOVE_UP = "move_up"
    CANCEL = "cancel"
    PIN = "pin"
    UNPIN = "unpin"
    DETAILS = "details"
    COPY_NAME = "copy_name"
    COPY_DIGEST = "copy_digest"


@dataclass(frozen=True, slots=True)
class Deed:
    """How an action is called and reached."""

    text: str
    glyph: str
    shortcut: str = ""
    tip: str = ""


JOB_DEEDS: dict[JobAction, Deed] = {
    JobAction.SIGN_IN: Deed("Sign in…", "key", "Ctrl+L", "Give the registry a user and password"),
    JobAction.OPEN_SETTINGS: Deed(
        "Open settings file",
        "settings",
        "",
        "The settings say how to sign in there: change the upstream’s auth in them",
    ),
    JobAction.KEEP_THEIRS: Deed(
        "Keep theirs", "check", "", "Leave the tag there as it is, and don’t sync this; it stays here"
    ),
    JobAction.OVERWRITE: Deed("Overwrite…", "arrow-up", "", "Let the tag there name this instead"),
    JobAction.OTHER_TAG: Deed("Other tag…", "tag", "", "Leave the tag there as it is, and sync this under another one"),
    JobAction.RESUME: Deed("Resume", "play", "Space", "Go on with this image"),
    JobAction.RETRY: Deed("Try now", "retry", "Ctrl+R", "Don’t wait for the next try"),
    JobAction.PAUSE: Deed("Pause", "pause", "Space", "Keep this image back for a while"),
    JobAction.MOVE_UP: Deed("Move up", "to-top", "Ctrl+Up", "Sync this image before all others"),
    JobAction.CANCEL: Deed("Cancel", "cancel", "Del", "Don’t sync this image; it stays here"),
    JobAction.PIN: Deed("Keep here", "pin", "", "Keep this image here, whatever room is needed"),
    JobAction.UNPIN: Deed(
        "Don’t keep here", "pin", "", "Let this image go when room is needed and it can be had again"
    ),
    JobAction.DETAILS: Deed("Details…", "info", "Ctrl+I", "All that is known about it"),
    JobAction.COPY_NAME: Deed("Copy name", "copy", "Ctrl+C", "Its name, as you would pull it from here"),
    JobAction.COPY_DIGEST: Deed("Copy digest", "copy", "", "The digest of its manifest"),
}


DECISIONS = (JobAction.KEEP_THEIRS, JobAction.OVERWRITE, JobAction.OTHER_TAG)
"""What can become of a tag that somebody else moved."""


PINNING = (JobAction.PIN, JobAction.UNPIN)


_IN_LINE = frozenset({JobState.QUEUED, JobState.WAITING, JobState.PAUSED, JobState.PREPARING, JobState.TRANSFERRING})
"""States in which it matters who is first."""


def applicable(job: JobSnapshot, queue: Iterable[JobSnapshot] = ()) -> tuple[JobAction, ...]:
    """What can be done to this image as it is, and as the `queue` is that it waits in; the most helpful first."""
    states = {part.state for part in job.parts}
    open_states = {state for state in states if not state.is_over}
    fitting: list[JobAction] = []
    if any(part.needs_credentials for part in job.parts):
        fitting.append(JobAction.SIGN_IN)
    if any(part.needs_settings for part in job.parts):
        fitting.append(JobAction.OPEN_SETTINGS)
    if any(part.conflict is not None for part in job.parts):
        fitting.extend(DECISIONS)
    if job.paused or job.repository_paused:
        fitting.append(JobAction.RESUME)
    elif states & {JobState.WAITING, JobState.BLOCKED, JobState.FAILED}:
        fitting.append(JobAction.RETRY)
    if JobAction.RESUME not in fitting and open_states - {JobState.PAUSED, JobState.CANCELLING, JobState.BLOCKED}:
        fitting.append(JobAction.PAUSE)
    if _could_pass_another(job, queue):
        fitting.append(JobAction.MOVE_UP)
    if states - {JobState.CANCELLING}:
        fitting.append(JobAction.CANCEL)
    return (*fitting, JobAction.DETAILS, JobAction.COPY_NAME, JobAction.COPY_DIGEST)


def _could_pass_another(job: JobSnapshot, queue: Iterable[JobSnapshot]) -> bool:
    """Whether one goes before it to an upstream that it waits for, too."""
    wanted = {part.upstream for part in job.parts if part.state in _IN_LINE}
    for other in queue:
        if other.id == job.id:
            return False
        if any(part.upstream in wanted and part.state in _IN_LINE for part in other.parts):
            return True
    return False


class Actions(QObject):
    """The window's and the tray's QActions, and what they do. Questions go to whoever has a window to ask in."""

    page_wanted = Signal(str)
    """Bring the window to the front; a page's name, or empty for the one that is there."""
    cancel_all_asked = Signal()
    quit_asked = Signal()
    add_upstream_asked = Signal()
    sign_in_asked = Signal(str, str)
    """An upstream's name, and why."""
    overwrite_asked = Signal(object)
    """A JobSnapshot whose tag somebody else moved."""
    other_tag_asked = Signal(object)
    """A JobSnapshot whose tag somebody else moved."""
    details_asked = Signal(object)
    """A JobSnapshot or a HistoryEntry."""
    noticed = Signal(str)
    """Something worked that leaves no trace on the screen: words for a moment."""

    def __init__(self, core: Core, bridge: Bridge, tasks: Tasks, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._core = core
        self._bridge = bridge
        self._tasks = tasks
        self.pause = self._action("Pause", "pause", "Ctrl+P", self.pause_all)
        self.pause_for_30_minutes = self._action("For 30 minutes", "", "", self._pause_30_minutes)
        self.pause_for_2_hours = self._action("For 2 hours", "", "", self._pause_2_hours)
        self.pause_until_tomorrow = self._action("Until tomorrow morning", "", "", self._pause_until_tomorrow)
        self.pause_until_resumed = self._action("Until I resume", "", "", self.pause_all)
        self.resume = self._action("Resume", "play", "Ctrl+P", self.resume_all)
        self.retry_all = self._action("Try all now", "retry", "F5", self._retry_all)
        self.cancel_all = self._action("Cancel all…", "cancel", "", self.cancel_all_asked)
        self.copy_address = self._action("Copy address", "copy", "Ctrl+Shift+C", self._copy_address)
        self.open_window = self._action("Open yarddesk", "", "", self._open_window)
        self.add_upstream = self._action("Add upstream…", "plus", "Ctrl+N", self.add_upstream_asked)
        self.show_upstreams = self._action("Upstreams…", "upstreams", "", self._show_upstreams)
        self.open_settings_file = self._action("Open settings file", "", "Ctrl+,", self._open_settings_file)
        self.open_data_folder = self._action("Open data folder", "", "", self._open_data_folder)
        self.open_queue_folder = self._action("Open queue’s folder", "", "", self._open_queue_folder)
        self.quit = self._action("Quit yarddesk", "", QKeySequence(QKeySequence.StandardKey.Quit), self.quit_asked)
        if self.quit.shortcut().isEmpty():
            self.quit.setShortcut(QKeySequence("Ctrl+Q"))
        self.pause_choices = (
            self.pause_until_resumed,
            self.pause_for_30_minutes,
            self.pause_for_2_hours,
            self.pause_until_tomorrow,
        )
        bridge.snapshot_changed.connect(self._on_snapshot)
        self._on_snapshot()

    def perform(self, action: JobAction, job: JobSnapshot) -> None:
        """Do it to this image."""
        match action:
            case JobAction.SIGN_IN:
                asking = next((part for part in job.parts if part.needs_credentials), None)
                if asking is not None:
                    self.sign_in_asked.emit(asking.upstream, asking.reason)
            case JobAction.OPEN_SETTINGS:
                self._open_settings_file()
            case JobAction.KEEP_THEIRS:
                said = f"{job.name} won’t be synced. It stays here; push it again to sync it."
                self._steer(self._decided(job, ConflictChoice.KEEP), f"Keeping what is there as {job.name}", said)
            case JobAction.OVERWRITE:
                self.overwrite_asked.emit(job)
            case JobAction.OTHER_TAG:
                self.other_tag_asked.emit(job)
            case JobAction.RESUME:
                # An image of a paused repository can't go on by itself.
                target = str(job.repository) if job.repository_paused else job.id
                self._steer(self._core.sync.resume(target), f"Resuming {target}", goes=job.id)
            case JobAction.RETRY:
                self._steer(self._core.sync.retry(job.id), f"Trying {job.name}", goes=job.id)
            case JobAction.PAUSE:
                self._steer(self._core.sync.pause(job.id), f"Pausing {job.name}")
            case JobAction.MOVE_UP:
                said = f"{job.name} goes first"
                self._steer(self._core.sync.move_up(job.id), f"Moving up {job.name}", said, goes=job.id)
            case JobAction.CANCEL:
                said = f"{job.name} won’t be synced. It stays here; push it again to sync it."
                self._steer(self._core.sync.cancel(job.id), f"Cancelling {job.name}", said)
            case JobAction.PIN | JobAction.UNPIN:
                self.pin(job, action is JobAction.PIN)
            case JobAction.DETAILS:
                self.details_asked.emit(job)
            case JobAction.COPY_NAME:
                self.copy(f"{self._core.address}/{job.name}", "Name copied")
            case JobAction.COPY_DIGEST:
                self.copy(job.digest, "Digest copied")

    def is_pinned(self, image: JobSnapshot | HistoryEntry) -> bool:
        """Whether it stays here, whatever room is needed."""
        return self._core.is_pinned(ImageReference(image.repository, image.reference))

    def pin(self, image: JobSnapshot | HistoryEntry, stays: bool) -> None:
        """Have it stay here whatever room is needed, or not any more."""
        said = f"{image.name} stays here, whatever room is needed"
        if not stays:
            said = f"{image.name} may go when room is needed and it can be had again"
        self._tasks.spawn(self._pin(image, stays, said), what=f"Keeping {image.name}")

    async def _pin(self, image: JobSnapshot | HistoryEntry, stays: bool, said: str) -> None:
        await self._core.pin(ImageReference(image.repository, image.reference), stays=stays)
        self.noticed.emit(said)

    def overwrite(self, job: JobSnapshot) -> None:
        """Once the person has said yes."""
        self._steer(self._decided(job, ConflictChoice.OVERWRITE), f"Overwriting {job.name}", goes=job.id)

    async def sync_as(self, job: JobSnapshot, tag: Tag) -> str:
        """Sync it under another tag; what came of it, in words. Raises YarddeskError where that can't be."""
        count = await self._decided(job, ConflictChoice.TAG, tag)
        self._bridge.refresh()
        if not count:
            return "Nothing waits for that any more"
        kept_back = self._core.sync.kept_back(format_reference(job.repository, tag))
        return ". ".join(text for text in (f"Syncing as {tag}", kept_back) if text)

    async def _decided(self, job: JobSnapshot, choice: ConflictChoice, tag: Tag | None = None) -> int:
        return await self._core.sync.decide(job.id, choice, tag=tag, generation=job.generation)

    def copy(self, text: str, said: str = "Copied") -> None:
        """Put text on the clipboard, and say so."""
        QGuiApplication.clipboard().setText(text)
        self.noticed.emit(said)

    def pause_all(self) -> None:
        self._pause(None)

    def resume_all(self) -> None:
        self._steer(self._core.sync.resume(), "Resuming")

    def pause_upstream(self, name: str, paused: bool) -> None:
        """Keep back, or let go again, what goes to one upstream."""
        if paused:
            self._steer(self._core.sync.pause(name), f"Pausing {name}")
        else:
            self._steer(self._core.sync.resume(name), f"Resuming {name}")

    def resume_repository(self, name: str) -> None:
        """Let go what goes, or will be pushed, to one repository."""
        self._steer(self._core.sync.resume(name), f"Resuming {name}")

    def cancel_everything(self) -> None:
        """Once the person has said yes."""
        self._steer(self._core.sync.cancel(), "Cancelling", "Cancelled. What was pushed stays here.")

    def _pause(self, seconds: float | None) -> None:
        self._steer(self._core.sync.pause(for_seconds=seconds), "Pausing")

    def _pause_30_minutes(self) -> None:
        self._pause(30 * 60)

    def _pause_2_hours(self) -> None:
        self._pause(2 * 3600)

    def _pause_until_tomorrow(self) -> None:
        now = self._bridge.now()
        self._pause((tomorrow_morning(now) - now).total_seconds())

    def _retry_all(self) -> None:
        self._steer(self._core.sync.retry(), "Trying again", goes=None)

    def _steer(
        self, coroutine: Coroutine[Any, Any, int], what: str, said: str = "", *, goes: str | None = _NOTHING
    ) -> None:
        """`goes`: what is to go on by it (None: everything); where it doesn't all the same, that's said, too."""
        self._tasks.spawn(self._and_look(coroutine, said, goes), what=what)

    async def _and_look(self, coroutine: Coroutine[Any, Any, int], said: str, goes: str | None) -> None:
        await coroutine
        self._bridge.refresh()
        kept_back = self._core.sync.kept_back(goes) if goes != _NOTHING else ""
        if said or kept_back:
            self.noticed.emit(". ".join(text for text in (said, kept_back) if text))

    def _copy_address(self) -> None:
        self.copy(self._core.address, f"{self._core.address} copied")

    def _open_window(self) -> None:
        self.page_wanted.emit("")

    def _show_upstreams(self) -> None:
        self.page_wanted.emit("upstreams")

    def _open_settings_file(self) -> None:
        file = self._core.settings_file
        if file.exists():
            self._open(file)
        else:
            self.noticed.emit(f"There is no settings file yet. It would be {file}.")

    def _open_data_folder(self) -> None:
        self._open(self._core.data_dir)

    def _open_queue_folder(self) -> None:
        self._open(self._core.data_dir / "pending")

    def _open(self, path: Path) -> None:
        """Says which it is, too: where no program is there for it the desktop does nothing, and often doesn't tell."""
        begun = QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
        self.noticed.emit(f"Opening {path}" if begun else f"No program here opens {path}")

    def _on_snapshot(self) -> None:
        snapshot = self._bridge.snapshot
        self.pause.setEnabled(not snapshot.paused)
        self.pause.setVisible(not snapshot.paused)
        self.resume.setEnabled(snapshot.paused)
        self.resume.setVisible(snapshot.paused)
        counts = snapshot.counts
        self.cancel_all.setEnabled(any(not state.is_over for state in counts))
        self.retry_all.setEnabled(any(counts.get(s) for s in (JobState.WAITING, JobState.BLOCKED, JobState.FAILED)))

    def _action(self, text: str, glyph: str, shortcut: str | QKeySequence, does: object) -> QAction:
        action = QAction(text, self)
        action.setProperty("glyph", glyph)
        action.setShortcut(QKeySequence(shortcut))
        action.triggered.connect(does)
        return action


def tomorrow_morning(now: datetime) -> datetime:
    """The next day at eight, by the person's clock."""
    return (now + timedelta(days=1)).replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)


def told(job: JobSnapshot, action: JobAction) -> str:
    """An action on this image, in full, for a screen reader and a tooltip."""
    deed = JOB_DEEDS[action]
    return f"{deed.text.removesuffix('…')} {words.plain(job.name)}: {deed.tip}"
