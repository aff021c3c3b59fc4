"""What the set-up of a container engine is made of: the address, the plan, its proof, and the protocol of an engine."""

import difflib
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from yarddesk.errors import YarddeskError

if TYPE_CHECKING:
    from yarddesk.engines.records import SetupRecord

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s\"'@]+(?=@)")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)


class EngineError(YarddeskError):
    """An engine can't be set up, proved or put back; says what to do about it."""


class EngineNotFound(EngineError):
    """There is no engine of that name, or it is not on this machine."""


class ConfigurationInvalid(EngineError):
    """A configuration of the engine's can't be read; names the file and the line."""


class ChangedMeanwhile(EngineError):
    """A file is no longer as it was when the plan was made, or as we left it; nothing was written."""


class ProofFailed(EngineError):
    """The engine could not push to the registry, or pull from it."""


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """Where our registry answers, as it stands in an image's name: `localhost:5050`. tls: it speaks HTTPS there."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str, *, tls: bool = False) -> Self:
        """Parse `HOST:PORT`, IPv6 in brackets. Raises EngineError."""
        host, colon, port = text.strip().lower().rpartition(":")
        number = int(port) if port.isascii() and port.isdecimal() else 0
        if not colon or not 0 < number < 65536 or not _is_host(host):
            raise EngineError(
                f"“{text[:100]}” is not the address of a registry.", hint="It reads HOST:PORT, such as localhost:5050."
            )
        return cls(host, number, tls)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            return host.endswith("]") and ipaddress.ip_address(host[1:-1]).version == 6
        except ValueError:
            return False
    return _HOST.fullmatch(host) is not None


class SetupState(Enum):
    """How an engine stands to an address of ours."""

    ABSENT = "absent"
    NOT_SET_UP = "not set up"
    SET_UP = "set up"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine as it is found, in facts and in words.

    sentence: the state, for people. next_step: what to do now, empty where there is nothing. socket, config: the engine's own, where known.
    running: None for an engine that has no daemon. takes_address: it would push to the address as things stand; None:
    not known. undoable: a change of ours is there to be taken back.
    """

    key: str
    title: str
    state: SetupState
    sentence: str
    next_step: str = ""
    version: str = ""
    programs: tuple[str, ...] = ()
    running: bool | None = None
    socket: Path | None = None
    config: Path | None = None
    takes_address: bool | None = None
    undoable: bool = False

    @property
    def found(self) -> bool:
        """Whether the engine is on this machine."""
        return self.state is not SetupState.ABSENT


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file before and after; None: there is no such file. The content may hold secrets: it is in no repr."""

    path: Path
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)

    def diff(self) -> str:
        """A unified diff for people, with names and passwords in URLs masked; empty where nothing changes."""
        if self.before == self.after:
            return ""
        lines = difflib.unified_diff(
            _lines(self.before),
            _lines(self.after),
            "/dev/null" if self.before is None else str(self.path),
            "/dev/null" if self.after is None else str(self.path),
        )
        ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
        return _USER_INFO.sub("***", "".join(ended))


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").replace("\r\n", "\n").splitlines(keepends=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set-up would change. It holds for the files as they are now: `apply` refuses it once they differ.

    reload: in words, how the engine gets to know; empty where it needs nothing. notes: what to know before, a sentence each.
    record: what undoes the plan, kept once it is applied.
    """

    engine: str
    title: str
    address: RegistryAddress
    changes: tuple[FileChange, ...]
    reload: str = ""
    notes: tuple[str, ...] = ()
    record: "SetupRecord | None" = field(default=None, repr=False)

    @property
    def empty(self) -> bool:
        """Whether the engine is set up already, so that there is nothing to change."""
        return not self.changes

    def diff(self) -> str:
        """All changes as unified diffs for people; secrets in URLs are masked."""
        return "".join(change.diff() for change in self.changes)


@dataclass(frozen=True, slots=True)
class Proof:
    """A tiny image went through the engine to the registry and back.

    reference: its name, gone by now. note: what could not be cleaned up, in a sentence, else empty. Times in seconds.
    """

    engine: str
    reference: str
    push_seconds: float
    pull_seconds: float
    note: str = ""

    @property
    def sentence(self) -> str:
        words = f"Pushed a tiny image in {_seconds(self.push_seconds)} and pulled it in {_seconds(self.pull_seconds)}."
        return f"{words} {self.note}".rstrip()


def _seconds(duration: float) -> str:
    return f"{duration:.1f} s" if duration >= 0.05 else "under 0.1 s"


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did. changes: the files, before and after; to_the_byte: they are as they were before the set-up."""

    engine: str
    changes: tuple[FileChange, ...]
    to_the_byte: bool
    sentence: str


Sweep = Callable[[str, str], Awaitable[None]]
"""Deletes repository and tag of a proof from the registry; a YarddeskError or OSError of its becomes the proof's note."""


class ContainerEngine(Protocol):
    """One container engine of this machine. Nothing blocks the loop; nothing is kept in memory between the calls."""

    key: str
    """How the command calls it: `docker`."""

    title: str
    """How people call it: `Docker Engine`."""

    async def status(self, address: RegistryAddress) -> EngineStatus:
        """How the engine is found; never raises for what is wrong with the engine, but says it."""
        ...

    async def plan(self, address: RegistryAddress, *, mirror: bool = False) -> Plan:
        """What would change so that the engine pushes to the address and pulls from it; nothing is written.

        mirror: Docker Hub's images come through us as well. Raises EngineError where it can't be done.
        """
        ...

    async def apply(self, plan: Plan, *, prove: bool = True, sweep: Sweep | None = None) -> Proof | None:
        """Write the plan, have the engine read it, and prove it; when that fails, all is put back before the error rises.

        Gives None without `prove`, and where the engine doesn't run. Raises ChangedMeanwhile, ProofFailed, EngineError.
        """
        ...

    async def undo(self) -> Undone:
        """Take our change back: to the byte where nobody touched the file since, else our part alone. Raises EngineError."""
        ...

    async def prove(self, address: RegistryAddress, *, sweep: Sweep | None = None) -> Proof:
        """Push a tiny image through the engine and pull it again, leaving nothing behind.

        sweep: called at the end, whatever happened, to delete it from the registry; without one the registry is asked by DELETE.
        Raises ProofFailed, EngineError.
        """
        ...
