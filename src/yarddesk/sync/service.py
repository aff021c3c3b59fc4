"""`SyncService`: the one door of this room. It owns the tasks, and puts the parts together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from yarddesk.content.clock import Clock, SystemClock
from yarddesk.content.errors import StorageError
from yarddesk.content.listener import ArrivalListener, ManifestPush
from yarddesk.content.store import Store
from yarddesk.content.upstream import Routes, Upstream
from yarddesk.errors import YarddeskError
from yarddesk.events import ContentMended, EventBus, ManifestStored, Subscription
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import Settings
from yarddesk.sync.conflicts import OnConflict
from yarddesk.sync.copy import Wires
from yarddesk.sync.deciding import Alone, Deciding, Decision
from yarddesk.sync.history import HISTORY_FILE, History
from yarddesk.sync.intake import Intake
from yarddesk.sync.journal import Journal
from yarddesk.sync.keeping_back import kept_back
from yarddesk.sync.outlook import Outlook
from yarddesk.sync.pauses import Pauses
from yarddesk.sync.queue import Queue
from yarddesk.sync.reach import Reach, SleepWatch
from yarddesk.sync.rerouting import changed_upstreams, renamed_upstreams, requeue_blocked, reroute_queued
from yarddesk.sync.rounds import Rounds
from yarddesk.sync.schedule import Schedule
from yarddesk.sync.seen import SEEN_FILE, SeenTags
from yarddesk.sync.selection import select
from yarddesk.sync.slots import Bandwidth, TransferSlots
from yarddesk.sync.snapshot import ConflictChoice, HistoryEntry, SyncSnapshot
from yarddesk.sync.startup import Startup
from yarddesk.sync.steering import Steering
from yarddesk.sync.transfers import TransferKey, Transfers
from yarddesk.sync.views import Views
from yarddesk.sync.waiting import SyncOutcome, Waiting
from yarddesk.sync.watch import FolderWatch
from yarddesk.sync.worker import Worker

_log = logging.getLogger(__name__)

_MORE_ATTEMPTS: Final = 8
_STOP_SECONDS: Final = 1.5


class SyncService:
    """Pushed images on their way to their upstreams: a PushListener, a SyncController, and `wait_synced`.

    Use it as `async with`, or `start` and `stop`. All of it belongs to one event loop. Nothing is taken before `start`
    returned, and what a push was told is on disk stays so however the process ends.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        store: Store,
        routes: Routes,
        settings: Settings,
        events: EventBus,
        arrivals: ArrivalListener | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._queue = Queue(
            store=store,
            routes=routes,
            journal=Journal(data_dir / "pending"),
            schedule=Schedule(_attempts(settings)),
            pauses=Pauses(data_dir / "paused.json"),
            history=History(data_dir / HISTORY_FILE),
            seen=SeenTags(data_dir / SEEN_FILE),
            events=events,
            clock=self._clock,
            random=random or Random(),
            arrivals=arrivals,
        )
        self._wires = Wires(
            Transfers(self._spawn, self._abandoned),
            TransferSlots(settings.sync.concurrency),
            Bandwidth(settings.sync.bandwidth, self._clock),
        )
        self._worker = Worker(self._queue, self._wires, self._spawn)
        self._intake = Intake(self._queue, self._worker, self._wires.transfers)
        self._startup = Startup(self._queue, self._worker, self._intake)
        self._worker.orphaned = self._intake.orphaned
        self._steering = Steering(self._queue, self._worker, self._intake.orphaned)
        self._deciding = Deciding(self._queue, self._intake, self, self._steering.end_part)
        self._outlook = Outlook(self._queue, self._worker.known, self._worker.is_asking)
        self._reach = Reach(self._queue, self._worker.wake.set, self._spawn)
        self._sleep_watch = SleepWatch(self._clock, self._woke)
        self._waiting = Waiting(self._queue)
        self._views = Views(self._queue, self._worker.attempts)
        self._watch = FolderWatch(self._queue.journal, self._steering.deleted_by_hand)
        self._rounds = Rounds(self._queue, self._steering, self._watch, settings.sync.interval)
        self._group: asyncio.TaskGroup | None = None
        self._runner: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()
        self._stopping = asyncio.Event()
        self._subscription: Subscription | None = None
        self._follow(settings)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Read the queue back and go on with it. Raises StorageError."""
        queue = self._queue
        await self._load()
        self._subscription = queue.events.subscribe(self._heard, ManifestStored, ContentMended)
        running = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(running), name="sync")
        self._runner.add_done_callback(_report)
        await asyncio.wait([self._runner, running], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await self._runner

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """In place of `start`, where nothing is to be sent: what is pushed meanwhile is queued for whoever starts next."""
        await self._load()
        try:
            yield
        finally:
            await self._queue.journal.close()
            await self._queue.seen.close()

    async def stop(self) -> None:
        """End what is under way, within seconds; it stays queued."""
        if self._subscription is not None:
            self._subscription.close()
        self._stopping.set()
        self._watch.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            self._worker.rest_all()
            _, late = await asyncio.wait([runner], timeout=_STOP_SECONDS)
            if late:
                _log.warning("transfers did not end within %g s and are cut off", _STOP_SECONDS)
                runner.cancel()
                await asyncio.wait([runner])
            if not runner.cancelled() and (error := runner.exception()) is not None:
                raise error
            await self._keep_counts()
        await self._queue.journal.close()
        await self._queue.seen.close()
        await self._queue.history.write()

    async def _keep_counts(self) -> None:
        """What was sent of those that were under way now, or when they were paused, is told with their end, after the next start."""
        every = self._queue.journal.jobs.values()
        jobs = [job for job in every if any(part.uncounted for part in job.parts.values())]
        saved = await asyncio.gather(*(self._queue.journal.save(job) for job in jobs), return_exceptions=True)
        for error in saved:
            if isinstance(error, YarddeskError):
                _log.warning("a marker could not be written, so the history will tell of less than was sent: %s", error)
            elif isinstance(error, BaseException):
                raise error

    async def reload(self, routes: Routes, settings: Settings) -> None:
        """Other settings are in force: what goes to upstreams that changed or went begins again, or ends; the rest goes on.

        What was blocked gets another try. A marker that can't be written is reported in the log: what it says is put right
        with the next change of its job, or at the next start.
        """
        queue = self._queue
        names = renamed_upstreams(self._settings, settings)
        try:
            await queue.pauses.rename(names)
        except StorageError as error:
            _log.error("what is paused by a new name could not be written: %s", error)
        changed = changed_upstreams(self._settings, queue.routes, settings, routes)
        queue.routes = routes
        self._settings = settings
        self._follow(settings)
        self._apply_pauses()
        for name in changed:
            self._worker.rest_all(name)
            self._worker.forget(name)
            gate = queue.schedule.gate(name)
            if gate.opened():
                gate.state = "unknown"
        queue.touch_world()
        unwritten: list[YarddeskError] = []
        for job in list(queue.journal.jobs.values()):
            if queue.journal.is_current(job) and reroute_queued(queue, self._worker, job, names):
                try:
                    await queue.journal.save(job)
                except YarddeskError as error:
                    unwritten.append(error)
        if unwritten:
            _log.error("%d markers do not say yet what the settings made of them: %s", len(unwritten), unwritten[0])
        self._worker.wake.set()

    def move_tags_by(self, alone: Alone) -> None:
        """What pushes hold while they move a tag is held here as well, where a decision moves one."""
        self._deciding.alone = alone

    # PushListener

    async def manifest_pushed(self, push: ManifestPush) -> None:
        """In the queue, durably, when it returns. Raises StorageError."""
        await self._intake.manifest_pushed(push)

    async def push_done(self, push: ManifestPush) -> None:
        await self._intake.push_done(push)

    async def push_failed(self, push: ManifestPush) -> None:
        """What was queued before is queued again where the tags didn't move, and nothing where nothing was."""
        await self._steering.withdraw(await self._intake.put_back(push))

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None:
        await self._steering.tag_deleted(repository, tag)

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None:
        await self._steering.manifest_deleted(repository, digest)

    # SyncController

    async def pause(self, target: str | None = None, *, for_seconds: float | None = None) -> int:
        return await self._steering.pause(target, for_seconds=for_seconds)

    async def resume(self, target: str | None = None) -> int:
        return await self._steering.resume(target)

    async def cancel(self, target: str | None = None) -> int:
        return await self._steering.cancel(target)

    async def retry(self, target: str | None = None) -> int:
        return await self._steering.retry(target)

    async def move_up(self, target: str) -> int:
        return await self._steering.move_up(target)

    def kept_back(self, target: str | None = None) -> str:
        return kept_back(self._queue, select(self._queue, target)).words()

    async def decide(
        self,
        target: str,
        choice: ConflictChoice,
        *,
        upstream: str | None = None,
        tag: Tag | None = None,
        generation: int | None = None,
    ) -> int:
        try:
            return await self._deciding.decide(target, Decision(choice, upstream, tag, generation))
        finally:
            self._worker.wake.set()

    def snapshot(self) -> SyncSnapshot:
        return self._views.snapshot()

    def history(self, limit: int = 100) -> Sequence[HistoryEntry]:
        return self._queue.history.recent(limit)

    # What the rest asks

    async def wait_synced(self, target: str | None = None) -> SyncOutcome:
        """Return when an image (a REFERENCE, a repository, an upstream's name; None: all) is upstream, or can't be."""
        return await self._waiting.wait_synced(target)

    def is_queued(self, repository: RepositoryName, reference: Tag | Digest) -> bool:
        """Whether it's still on its way to some upstream."""
        job = self._queue.journal.get(f"{repository}{'@' if isinstance(reference, Digest) else ':'}{reference}")
        return job is not None

    def latest(
        self, repository: RepositoryName, reference: Tag | Digest, upstream: str, place: str
    ) -> HistoryEntry | None:
        """What last became of an image on its way to an upstream and place there, as far as is remembered."""
        return self._queue.history.latest(repository, reference, upstream, place)

    async def remember(self, entry: HistoryEntry) -> None:
        """Keep a line in the history that is of no job; on disk when this returns, unless the disk has no room."""
        await self._loaded.wait()
        self._queue.history.keep(entry)
        self._queue.changes += 1
        await self._queue.history.write()

    def saw(self, upstream: Upstream, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        """A pull asked an upstream for a tag: that's what we last saw there, unless it's ours that is on its way."""
        if not self.is_queued(repository, tag):
            self._queue.seen.saw(upstream.place_of(repository), tag, digest)
            self._queue.seen.write_soon()

    def queued_in(self, repository: RepositoryName) -> Collection[Digest]:
        """The manifests of a repository that are still on their way to some upstream."""
        return {job.digest for job in self._queue.journal.in_repository(repository)}

    def queued(self) -> dict[RepositoryName, frozenset[Digest]]:
        """The same of all repositories: looks at the whole queue."""
        found: dict[RepositoryName, set[Digest]] = {}
        for job in self._queue.journal.jobs.values():
            found.setdefault(job.repository, set()).add(job.digest)
        return {repository: frozenset(digests) for repository, digests in found.items()}

    async def _load(self) -> None:
        await self._queue.pauses.load(self._clock.now())
        await self._queue.history.load()
        await self._queue.seen.load()
        self._loaded.set()
        self._apply_pauses()
        await self._startup.load()

    async def _run(self, running: asyncio.Future[None]) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            running.set_result(None)
            # First, so that the watch has begun when the clock has its first look.
            group.create_task(self._watch.run(), name="sync folder watch")
            loops = [
                group.create_task(self._worker.run(), name="sync worker"),
                group.create_task(self._rounds.run(), name="sync rounds"),
                group.create_task(self._reach.run(), name="sync reach"),
                group.create_task(self._sleep_watch.run(), name="sync sleep watch"),
                group.create_task(self._outlook.run(), name="sync outlook"),
            ]
            await self._stopping.wait()
            for task in loops:
                task.cancel()
            self._worker.rest_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("the sync service is not started")
        return self._group.create_task(work)

    def _abandoned(self, key: TransferKey) -> None:
        upstream = self._queue.routes.upstream(key.upstream)
        if upstream is not None:
            upstream.abandon(key.repository, key.digest)

    async def _woke(self) -> None:
        """The machine slept: no connection is alive any more, and each would find that out by a time limit of its own."""
        for upstream in self._queue.routes.all():
            upstream.forget_connections()
        self._worker.rest_all()
        for _, gate in self._queue.schedule.gates():
            gate.failures = 0
        self._reach.again()
        await self._steering.retry(only_waiting=True)

    def _follow(self, settings: Settings) -> None:
        self._rounds.interval = settings.sync.interval
        self._queue.schedule.attempts_per_upstream = _attempts(settings)
        pushes = sum(upstream.push for upstream in self._queue.routes.all())
        self._wires.slots.resize(settings.sync.concurrency, pushes)
        self._wires.bandwidth.bytes_per_second = settings.sync.bandwidth
        self._queue.on_conflict = OnConflict(settings.sync.on_conflict)
        self._queue.filters = {upstream.name: upstream.tags for upstream in settings.upstreams}
        self._queue.signed_in_by_settings = frozenset(
            upstream.name for upstream in settings.upstreams if upstream.auth.is_configured
        )

    def _apply_pauses(self) -> None:
        queue = self._queue
        queue.schedule.paused = queue.pauses.everything
        for upstream in queue.routes.all():
            queue.schedule.pause_upstream(upstream.name, upstream.name in queue.pauses.upstreams)

    def _heard(self, event: ManifestStored | ContentMended) -> None:
        if isinstance(event, ManifestStored):
            self._intake.stored(event.repository, event.digest)
            return
        # Content is shared: whatever image of whatever repository is blocked may have waited for it.
        for job in list(self._queue.journal.jobs.values()):
            requeue_blocked(self._queue, job)
        self._worker.wake.set()


def _report(runner: asyncio.Task[None]) -> None:
    if not runner.cancelled() and (error := runner.exception()) is not None:
        _log.critical("nothing is synced any more", exc_info=error)


def _attempts(settings: Settings) -> int:
    """How many images are worked on at once for one upstream: beside those that can send others ask their questions, and small
    ones are not kept from their turn at the slots by as many huge ones."""
    return settings.sync.concurrency + _MORE_ATTEMPTS
