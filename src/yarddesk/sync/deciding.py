"""What a person decides about a tag that somebody else moved upstream. Durable before it takes effect, like all steering."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from yarddesk.content.listener import ManifestPush, PushListener
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.events import ManifestStored
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.sync.conflicts import kept
from yarddesk.sync.intake import Intake
from yarddesk.sync.marker import Conflict, Job, Part
from yarddesk.sync.queue import Queue, no_route
from yarddesk.sync.selection import select
from yarddesk.sync.snapshot import ConflictChoice
from yarddesk.sync.states import JobState


class Alone(Protocol):
    """While it's held nobody else pushes or deletes these of a repository."""

    def __call__(self, repository: RepositoryName, /, *references: Reference) -> AbstractAsyncContextManager[None]: ...


def _at_once(_repository: RepositoryName, *_references: Reference) -> AbstractAsyncContextManager[None]:
    return nullcontext()


EndPart = Callable[[Job, Part, str], Awaitable[None]]
"""Takes one upstream's part out of the queue, with the reason for the history."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What SyncController.decide is told, beside which image."""

    choice: ConflictChoice
    upstream: str | None = None
    tag: Tag | None = None
    generation: int | None = None


class Deciding:
    """Implements SyncController's `decide`."""

    def __init__(self, queue: Queue, intake: Intake, pushes: PushListener, end_part: EndPart) -> None:
        self._queue = queue
        self._intake = intake
        self._pushes = pushes
        self._end_part = end_part
        self.alone: Alone = _at_once
        """Held while a tag here is moved. Pushes move tags, too, above this room: so it's handed in from there."""

    async def decide(self, target: str, decision: Decision) -> int:
        """How many images it was decided for. Raises StorageError, and YarddeskError for a choice that can't be made."""
        asking = {
            job: parts
            for job, meant in select(self._queue, target).items()
            if (parts := [part for part in meant if part.asks and decision.upstream in (None, part.upstream)])
        }
        if decision.generation is not None and any(job.generation != decision.generation for job in asking):
            raise YarddeskError(f"{target} was pushed again meanwhile.", hint="Look at it again, then decide.")
        for job, parts in asking.items():
            match decision.choice:
                case ConflictChoice.OVERWRITE:
                    for part in parts:
                        await self._overwrite(job, part)
                case ConflictChoice.KEEP:
                    for part in parts:
                        await self._keep(job, part)
                case ConflictChoice.TAG:
                    await self._rename(job, parts, self._other_tag(job, parts, decision.tag))
        return len(asking)

    async def _overwrite(self, job: Job, part: Part) -> None:
        """For what is there now alone: what somebody moves the tag to later is asked about again."""
        queue, before = self._queue, part.conflict
        if before is None:
            return
        part.conflict = Conflict(before.there, overwrite=True)
        try:
            written = await queue.journal.save(job)
        except BaseException:
            part.conflict = before
            raise
        if not written and not queue.journal.is_current(job):
            raise _pushed_again(job)
        if part.state is JobState.BLOCKED:  # else a look at the tag went on by itself
            queue.requeue(job, part)

    async def _keep(self, job: Job, part: Part) -> None:
        if part.conflict is not None and isinstance(job.reference, Tag):
            there, registry = part.conflict.there, self._queue.registry_of(part.upstream)
            await self._end_part(job, part, kept(registry, job.reference, there))

    def _other_tag(self, job: Job, parts: Sequence[Part], tag: Tag | None) -> Tag:
        """The tag, where it's another one and may go where the parts are to go. Raises YarddeskError."""
        if tag is None or tag == job.reference:
            raise YarddeskError("Another tag is needed.", hint="One that the image doesn't have there yet.")
        for part in parts:
            if part.upstream not in self._queue.upstreams_of(job.repository, tag):
                raise YarddeskError(no_route(part.upstream), hint=f"The settings keep {tag} from going there.")
        return tag

    async def _rename(self, job: Job, parts: Sequence[Part], tag: Tag) -> None:
        """The order of a push: the marker, the tag, and only then the old parts go."""
        queue = self._queue
        async with self.alone(job.repository, job.digest, tag):
            if not queue.journal.is_current(job):
                raise _pushed_again(job)
            await self._push(job, parts, tag)
        for part in parts:
            await self._end_part(job, part, f"Goes up as {tag}: what {queue.registry_of(part.upstream)} has stays.")

    async def _push(self, job: Job, parts: Sequence[Part], tag: Tag) -> None:
        queue = self._queue
        named = await self._named(job, tag)
        if named not in (None, job.digest):
            raise YarddeskError(
                f"{job.repository}:{tag} is another image here already.",
                hint="Choose a tag that is free, or delete that.",
            )
        manifest = await queue.store.get_manifest(job.repository, job.digest)
        push = ManifestPush(job.repository, manifest, (tag,))
        try:
            await self._intake.queue_as(job.repository, tag, manifest, [part.upstream for part in parts])
            await queue.store.put_tag(job.repository, tag, job.digest)
        except BaseException:
            await self._pushes.push_failed(push)
            raise
        await self._pushes.push_done(push)
        queue.events.publish(ManifestStored(repository=job.repository, digest=job.digest, tags=(tag,), origin="push"))

    async def _named(self, job: Job, tag: Tag) -> Digest | None:
        try:
            return (await self._queue.store.resolve(job.repository, tag)).digest
        except NotFound:
            return None


def _pushed_again(job: Job) -> YarddeskError:
    return YarddeskError(f"{job.id} was pushed again meanwhile.", hint="Look at it again, then decide.")
