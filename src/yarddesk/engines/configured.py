"""What the engines have in common: a plan is applied, proved, rolled back or undone in the same order for each."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from yarddesk.engines import files
from yarddesk.engines.environment import EngineEnvironment
from yarddesk.engines.model import (
    EngineError,
    EngineNotFound,
    EngineStatus,
    FileChange,
    Plan,
    Proof,
    RegistryAddress,
    SetupState,
    Sweep,
    Undone,
)
from yarddesk.engines.proof_image import ProofImage
from yarddesk.engines.proving import prove, to_its_end
from yarddesk.engines.records import Records, SetupRecord
from yarddesk.engines.tracked import TrackedFile


class ConfiguredEngine(ABC):
    """An engine that is set up by one configuration file; the subclass knows which, and what goes into it."""

    key: str
    title: str

    def __init__(self, environment: EngineEnvironment, state_dir: Path) -> None:
        """state_dir: where the records of what undoes a set-up lie; they hold no secret."""
        self._environment = environment
        self._records = Records(state_dir)

    async def status(self, address: RegistryAddress) -> EngineStatus:
        """As in ContainerEngine."""
        return await asyncio.to_thread(self._status, address)

    async def plan(self, address: RegistryAddress, *, mirror: bool = False) -> Plan:
        """As in ContainerEngine."""
        return await asyncio.to_thread(self._plan, address, mirror)

    async def apply(self, plan: Plan, *, prove: bool = True, sweep: Sweep | None = None) -> Proof | None:
        """As in ContainerEngine."""
        if plan.empty or plan.record is None:
            return await self._proof(plan.address, sweep) if prove else None
        record, change = plan.record, plan.changes[0]
        if await asyncio.to_thread(self._path) != record.path:
            raise EngineError("The engine reads another file by now.", hint="Look at the change again.", temporary=True)
        tracked = self._track(record.path)
        await asyncio.to_thread(files.expect_unchanged, change)
        earlier = await asyncio.to_thread(tracked.record)
        try:
            await to_its_end(lambda: tracked.apply(change, record, self._write))
            return await self._proof(plan.address, sweep) if prove else None
        except BaseException as error:
            await self._roll_back(error, tracked, change, record, earlier)
            raise

    async def undo(self) -> Undone:
        """As in ContainerEngine."""
        return await to_its_end(self._undo)

    async def prove(self, address: RegistryAddress, *, sweep: Sweep | None = None) -> Proof:
        """As in ContainerEngine."""
        proof = await self._proof(address, sweep)
        if proof is None:
            raise EngineError(f"{self.title} isn't running.", hint="Start it, then try again.", temporary=True)
        return proof

    async def _proof(self, address: RegistryAddress, sweep: Sweep | None) -> Proof | None:
        if not await asyncio.to_thread(self._can_prove):
            return None
        return await prove(self.key, address, self._carry, sweep)

    async def _roll_back(
        self,
        cause: BaseException,
        tracked: TrackedFile,
        change: FileChange,
        record: SetupRecord,
        earlier: SetupRecord | None,
    ) -> None:
        try:
            await to_its_end(lambda: tracked.roll_back(change, record, earlier, self._write))
        except EngineError as error:
            title = cause.title if isinstance(cause, EngineError) else "The set-up was broken off."
            message = f"{getattr(cause, 'message', '')} It could not be put back: {error}".strip()
            raise EngineError(title, message, hint=f"Undo the set-up, or look at {change.path}.") from cause

    def _undo(self) -> Undone:
        record = self._record()
        if record is None:
            raise EngineError(f"There is nothing to undo in {self.title}.", "No set-up of yarddesk's is noted for it.")
        tracked = self._track(record.path)
        notes: list[str] = []
        change, exact = tracked.undo(record, lambda change: notes.append(self._write_back(change)))
        if exact and change.before == change.after:
            words = f"{tracked.path} no longer held what set-up had added; nothing had to change."
        elif exact and change.after is None:
            words = f"{tracked.path} is removed, as it wasn't there before."
        elif exact:
            words = f"{tracked.path} is byte for byte as it was before."
        else:
            words = f"{tracked.path} was edited after the set-up: our part is removed, the rest is as it was left."
        return Undone(self.key, (change,), exact, " ".join((words, *notes)).rstrip())

    def _record(self) -> SetupRecord | None:
        """Of the file that counts now, else of one that counted once: an engine may have been removed or moved."""
        try:
            current = self._records.load(self.key, self._path())
        except EngineNotFound:
            current = None
        return current or next(iter(self._records.of(self.key)), None)

    def _with_problem(self, status: EngineStatus, problem: EngineError) -> EngineStatus:
        sentence = " ".join(part for part in (problem.title, problem.message) if part)
        return replace(status, state=SetupState.BLOCKED, sentence=sentence, next_step=problem.hint)

    @abstractmethod
    def _status(self, address: RegistryAddress) -> EngineStatus: ...

    @abstractmethod
    def _plan(self, address: RegistryAddress, mirror: bool) -> Plan: ...

    @abstractmethod
    def _path(self) -> Path:
        """The file that counts for the engine at this moment. Raises EngineNotFound, EngineError."""

    @abstractmethod
    def _track(self, path: Path) -> TrackedFile:
        """A file of the engine's, with what knows its format."""

    @abstractmethod
    def _write(self, change: FileChange) -> None:
        """Bring a change to the disk and have the engine read it; raises where it doesn't."""

    @abstractmethod
    def _write_back(self, change: FileChange) -> str:
        """As `_write`, for an undo: the file is put back also where the engine doesn't follow, which is said in words."""

    @abstractmethod
    def _can_prove(self) -> bool:
        """Whether the engine is there to be tried."""

    @abstractmethod
    def _carry(self, image: ProofImage) -> tuple[float, float]:
        """As `proving.Carry`."""
