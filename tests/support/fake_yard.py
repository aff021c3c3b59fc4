"""A yard without a registry behind it: snapshots made by hand, calls written down, so that tests can look at the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yarddesk.content.credentials import Secret
from yarddesk.content.pull_through import PullHealth
from yarddesk.content.upstream import UpstreamDenied
from yarddesk.desktop.core import Problem, SignInResult
from yarddesk.engines.model import (
    ContainerEngine,
    EngineStatus,
    FileChange,
    Plan,
    Proof,
    RegistryAddress,
    SetupState,
    Sweep,
    Undone,
)
from yarddesk.errors import YarddeskError
from yarddesk.events import Event, EventBus, JobStateChanged, SettingsChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference, RepositoryName, Tag, parse_reference
from yarddesk.progress import LayerProgress, LayerState, TransferProgress
from yarddesk.progress.traffic import Traffic
from yarddesk.settings.model import UpstreamSettings
from yarddesk.sync.snapshot import ConflictChoice, HistoryEntry, JobSnapshot, SyncSnapshot, UpstreamHealth, UpstreamPart
from yarddesk.sync.states import JobState

MB = 1_000_000


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def progress(
    done: int, total: int, *, rate: float = 0.0, layers: Sequence[LayerProgress] | None = None, revision: int = 1
) -> TransferProgress:
    """A transfer's counters; without layers of its own it has one."""
    if layers is None:
        state = LayerState.SENDING if rate else LayerState.WAITING
        layers = (LayerProgress(digest(f"layer {total}"), total, done, state),)
    return TransferProgress(revision, done, total, done, 0, rate, tuple(layers))


def part(state: JobState, registry: str = "registry.corp", **more: object) -> UpstreamPart:
    return replace(UpstreamPart(registry, registry, state), **more)  # type: ignore[arg-type]


def job(name: str, *parts: UpstreamPart, at: datetime | None = None, paused: bool = False) -> JobSnapshot:
    repository, _, tag = name.rpartition(":")
    return JobSnapshot(
        id=name,
        repository=RepositoryName.parse(repository),
        reference=parse_reference(tag),
        digest=digest(name),
        generation=1,
        created=at or datetime.now(UTC),
        parts=parts,
        paused=paused,
    )


def entry(
    name: str,
    *,
    at: datetime | None = None,
    outcome: JobState = JobState.DONE,
    registry: str = "registry.corp",
    **more: object,
) -> HistoryEntry:
    repository, _, tag = name.rpartition(":")
    base = HistoryEntry(
        RepositoryName.parse(repository),
        parse_reference(tag),
        digest(name),
        registry,
        registry,
        outcome,
        at or datetime.now(UTC),
        seconds=2.1,
        bytes_sent=12 * MB,
        bytes_saved=328 * MB,
    )
    return replace(base, **more)  # type: ignore[arg-type]


@dataclass
class FakeSync:
    """A SyncController that writes down what it was asked, and shows what it was given."""

    events: EventBus
    shown: SyncSnapshot = field(default_factory=lambda: SyncSnapshot(1, False, None, (), (), ()))
    calls: list[tuple[object, ...]] = field(default_factory=list)
    entries: list[HistoryEntry] = field(default_factory=list)
    reads: int = 0
    refuse: YarddeskError | None = None
    kept: str = ""

    async def pause(self, target: str | None = None, *, for_seconds: float | None = None) -> int:
        self._called("pause", target, for_seconds)
        if target is None:
            until = datetime.now(UTC) + timedelta(seconds=for_seconds) if for_seconds else None
            self.show(paused=True, paused_until=until)
        return 1

    async def resume(self, target: str | None = None) -> int:
        self._called("resume", target)
        if target is None:
            self.show(paused=False, paused_until=None)
        return 1

    async def cancel(self, target: str | None = None) -> int:
        self._called("cancel", target)
        kept = tuple(job for job in self.shown.jobs if target not in (None, job.id))
        self.show(jobs=kept)
        return 1

    async def retry(self, target: str | None = None) -> int:
        self._called("retry", target)
        return 1

    async def move_up(self, target: str) -> int:
        self._called("move_up", target)
        return 1

    def kept_back(self, target: str | None = None) -> str:
        return self.kept

    async def decide(
        self,
        target: str,
        choice: ConflictChoice,
        *,
        upstream: str | None = None,
        tag: Tag | None = None,
        generation: int | None = None,
    ) -> int:
        self._called("decide", target, choice, upstream, tag, generation)
        return 1

    def snapshot(self) -> SyncSnapshot:
        self.reads += 1
        return self.shown

    def history(self, limit: int = 100) -> Sequence[HistoryEntry]:
        return self.entries[:limit]

    def show(self, **changes: object) -> None:
        """Become another snapshot, and tell of it."""
        self.shown = replace(self.shown, revision=self.shown.revision + 1, **changes)  # type: ignore[arg-type]
        self.events.publish(JobStateChanged(job_id="", upstream="", old="", new=""))

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        if self.refuse is not None:
            raise self.refuse


class FakeEngine:
    """A ContainerEngine in memory."""

    def __init__(self, key: str, title: str, state: SetupState = SetupState.NOT_SET_UP) -> None:
        self.key = key
        self.title = title
        self.state = state
        self.undoable = False
        self.refuse: YarddeskError | None = None

    async def status(self, address: RegistryAddress) -> EngineStatus:
        sentence = {
            SetupState.ABSENT: "It is not on this machine.",
            SetupState.NOT_SET_UP: f"It would refuse to push to {address}, which speaks plain HTTP.",
            SetupState.SET_UP: f"It pushes to {address} and pulls from it.",
            SetupState.BLOCKED: "Its configuration can’t be read: /etc/docker/daemon.json, line 3.",
        }[self.state]
        return EngineStatus(self.key, self.title, self.state, sentence, version="29.1.0", undoable=self.undoable)

    async def plan(self, address: RegistryAddress, *, mirror: bool = False) -> Plan:
        before = b'{\n  "log-driver": "local"\n}\n'
        after = b'{\n  "log-driver": "local",\n  "insecure-registries": ["localhost:5050"]\n}\n'
        change = FileChange(Path("/etc/docker/daemon.json"), before, after)
        return Plan(self.key, self.title, address, (change,), reload="It is told by SIGHUP; containers go on running")

    async def apply(self, plan: Plan, *, prove: bool = True, sweep: Sweep | None = None) -> Proof | None:
        if self.refuse is not None:
            raise self.refuse
        self.state, self.undoable = SetupState.SET_UP, True
        return Proof(self.key, "localhost:5050/yarddesk/proof:1", 0.4, 0.2)

    async def undo(self) -> Undone:
        self.state, self.undoable = SetupState.NOT_SET_UP, False
        return Undone(self.key, (), True, "Taken back: the file is as it was, to the byte.")

    async def prove(self, address: RegistryAddress, *, sweep: Sweep | None = None) -> Proof:
        return Proof(self.key, "localhost:5050/yarddesk/proof:1", 0.3, 0.1)


class FakeYard:
    """A Core in memory."""

    def __init__(self, *, upstreams: Sequence[UpstreamSettings] = (), folder: Path = Path("/nowhere")) -> None:
        self.address = "localhost:5050"
        self.version = "0.1.0"
        self.data_dir = folder
        self.settings_file = folder / "config.yaml"
        self.events = EventBus()
        self.sync = FakeSync(self.events)
        self.max_bytes = 20_000 * MB
        self.stored = 14_200 * MB
        self.listed = list(upstreams)
        self.pulls: dict[str, PullHealth] = {}
        self.traffic = Traffic()
        self.shown_problems: tuple[Problem, ...] = ()
        self.show_window: Callable[[], None] | None = None
        self.signed_in: list[tuple[str, str, Secret]] = []
        self.right_password = "right"
        self.engines: Sequence[ContainerEngine] = (FakeEngine("docker", "Docker Engine"),)
        self.engine_address = RegistryAddress("localhost", 5050)
        self.pinned: set[ImageReference] = set()
        self.refuse: YarddeskError | None = None

    def used_bytes(self) -> int:
        return self.stored

    def stored_bytes(self) -> int:
        return 2 * self.stored

    def is_pinned(self, image: ImageReference) -> bool:
        return image in self.pinned

    async def pin(self, image: ImageReference, *, stays: bool) -> None:
        if self.refuse is not None:
            raise self.refuse
        (self.pinned.add if stays else self.pinned.remove)(image)

    def pull_health(self, upstream: str) -> PullHealth:
        return self.pulls.get(upstream, PullHealth())

    def upstreams(self) -> Sequence[UpstreamSettings]:
        return tuple(self.listed)

    def problems(self) -> Sequence[Problem]:
        return self.shown_problems

    async def add_upstream(
        self, url: str, *, prefix: str = "", push: bool = True, pull: bool = True
    ) -> UpstreamSettings:
        if self.refuse is not None:
            raise self.refuse
        registry, _, path = url.split("://")[-1].partition("/")
        added = UpstreamSettings(registry, prefix or registry, prefix, path, push, pull)
        self.listed.append(added)
        self.tell(SettingsChanged())
        return added

    async def remove_upstream(self, name: str) -> None:
        self.listed = [each for each in self.listed if each.name != name]
        self.tell(SettingsChanged())

    async def sign_in(self, upstream: str, username: str, password: Secret) -> SignInResult:
        if password.reveal() != self.right_password:
            raise UpstreamDenied(
                upstream,
                f"{upstream} refused the password for {username}.",
                "authentication required (UNAUTHORIZED)",
                hint=f"Sign in again: yarddesk login {upstream}",
            )
        self.signed_in.append((upstream, username, password))
        return SignInResult(checked=True)

    async def sign_out(self, upstream: str) -> bool:
        return bool(self.signed_in)

    def tell(self, event: Event) -> None:
        self.events.publish(event)


def upstream(registry: str = "registry.corp", **more: object) -> UpstreamSettings:
    return replace(UpstreamSettings(registry, registry, push=True), **more)  # type: ignore[arg-type]


def health(
    registry: str, state: str = "ok", reason: str = "", *, paused: bool = False, needs_credentials: bool = False
) -> UpstreamHealth:
    return UpstreamHealth(registry, registry, state, reason, paused, needs_credentials)
