"""Sending a blob to a registry: up the ladder, on after a break where the registry kept what came, and else from the start.

A break that costs nothing but what was under way is seen to here and at once; the worker's patience begins where that gets
nowhere. What ended by a lack of connection, or by a pause, is kept for an hour, so that the next try goes on with it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

import httpx

from yarddesk.content.target import ContentSource, NotFound, Turn
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamFull,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTrouble,
    UpstreamUntrue,
)
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream.client import RegistryClient, Renewed, push_scope
from yarddesk.upstream.http import Answer, Body
from yarddesk.upstream.ladder import Ladder, Step
from yarddesk.upstream.learned import Learned, Lessons
from yarddesk.upstream.outflow import HashMarks, Outflow
from yarddesk.upstream.profiles import Rung
from yarddesk.upstream.sessions import UploadLost, UploadSession, check_digest
from yarddesk.upstream.tokens import Scopes

_log = logging.getLogger(__name__)

_CANCEL_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 0.5
_KEPT_SECONDS: Final = 3600.0
_MOST_KEPT: Final = 64
_NO_SUCH_WAY: Final = frozenset({405, 411, 415, 416, 501})
_TOOK_LONG: Final = frozenset({408, 504})
_LATER: Final = frozenset({429, 502, 503, 504})

_Key = tuple[RepositoryName, Digest]


@dataclass(slots=True)
class _Kept:
    """An upload that a lack of connection, or somebody, ended halfway."""

    session: UploadSession
    marks: HashMarks
    until: float


class Uploader:
    """Uploads to the repositories of one registry, and the clearing away of those that ended badly."""

    def __init__(
        self,
        client: RegistryClient,
        learned: Learned | None = None,
        lessons: Lessons | None = None,
        make: Callable[[RepositoryName, UpstreamMissing], Awaitable[None]] | None = None,
    ) -> None:
        """`make` makes a repository that was found to be missing, where that is asked for."""
        learned = learned or Learned()
        self._client = client
        self._make = make
        self._ladder = Ladder(lambda: client.profile, lessons or Lessons(), learned.now)
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._cancelling: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def push(
        self, repository: RepositoryName, descriptor: Descriptor, source: ContentSource, turn: Turn | None = None
    ) -> None:
        """Send a blob. Raises DigestMismatch, before it is complete there, when the source's bytes are not the descriptor's."""
        key = (repository, descriptor.digest)
        upload = _Upload(
            self._client,
            self._ladder,
            self._begin,
            self._cancel,
            repository,
            descriptor,
            source,
            turn,
            self._taken(key),
        )
        try:
            await upload.run()
        except BaseException as error:
            if upload.session is not None:
                if _is_worth_keeping(error) and not self._is_closed:
                    self._keep(key, upload.session, upload.marks)
                else:
                    self._cancel(upload.session)
            raise

    def abandon(self, repository: RepositoryName, digest: Digest) -> None:
        """Nobody goes on with an upload that ended halfway."""
        kept = self._kept.pop((repository, digest), None)
        if kept is not None:
            self._cancel(kept.session)

    async def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Whether the registry made a blob of the repository `source` one of `repository` too."""
        if self._client.profile.no_mounts is not None:
            return False
        path = f"{repository}/blobs/uploads/?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
        try:
            return await self._mount(self._client.url(path), repository, push_scope(repository, source), digest)
        except (UpstreamDenied, UpstreamRefused, NotFound) as failure:
            # No right to read there, no such repository, no mounts here: it's sent after all, which tells what is really wrong.
            _log.debug("no mount of %s from %s: %s", digest.short, source, failure)
            return False

    async def aclose(self) -> None:
        """Give the sessions that are being cancelled a moment; the registry collects what is left of them by itself.

        Those kept for another try end as well: where an upload goes on may be as good as a password, and isn't written down.
        """
        self._is_closed = True
        while self._kept:
            self._cancel(self._kept.popitem()[1].session)
        if self._cancelling:
            _, late = await asyncio.wait(self._cancelling, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _begin(self, repository: RepositoryName, algorithm: str) -> UploadSession:
        try:
            return await UploadSession.start(self._client, repository, algorithm)
        except UpstreamMissing as missing:
            if self._make is None:
                raise
            await self._make(repository, missing)
        return await UploadSession.start(self._client, repository, algorithm)

    async def _mount(self, url: httpx.URL, repository: RepositoryName, scopes: Scopes, digest: Digest) -> bool:
        async with self._client.request("POST", url, scopes, repeatable=True) as answer:
            if answer.status == 201:
                check_digest(self._client, answer, digest)
                return True
            if answer.status == 202:
                self._end_in_place_of_mount(repository, answer)
                return False
            raise await self._client.failure(answer, f"a mount of blob {digest.short}")

    def _end_in_place_of_mount(self, repository: RepositoryName, answer: Answer) -> None:
        """The upload that it began in place of a mount is not needed; where it says that's elsewhere, nobody goes there."""
        try:
            location = self._client.location(answer)
        except UpstreamUntrue as failure:
            _log.debug("an upload in place of a mount is left to expire: %s", failure)
            return
        if location is not None:
            self._cancel(UploadSession(self._client, repository, location, 0))

    def _taken(self, key: _Key) -> _Kept | None:
        kept = self._kept.pop(key, None)
        if kept is not None and kept.until < asyncio.get_running_loop().time():
            self._cancel(kept.session)
            return None
        return kept

    def _keep(self, key: _Key, session: UploadSession, marks: HashMarks) -> None:
        self._kept[key] = _Kept(session, marks, asyncio.get_running_loop().time() + _KEPT_SECONDS)
        while len(self._kept) > _MOST_KEPT:
            self._cancel(self._kept.popitem(last=False)[1].session)

    def _cancel(self, session: UploadSession) -> None:
        if not self._client.profile.ends_uploads:
            return
        # Not awaited: a cancelled push ends at once, and whether the session goes now or expires matters little.
        task = asyncio.get_running_loop().create_task(self._cancelled(session))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancelled(self, session: UploadSession) -> None:
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await session.cancel()
        except (YarddeskError, TimeoutError) as error:
            _log.debug("an upload session of %s was left to expire: %s", self._client.registry, error)


class _Upload:
    """One blob on its way to one repository."""

    def __init__(
        self,
        client: RegistryClient,
        ladder: Ladder,
        begin: Callable[[RepositoryName, str], Awaitable[UploadSession]],
        end: Callable[[UploadSession], None],
        repository: RepositoryName,
        descriptor: Descriptor,
        source: ContentSource,
        turn: Turn | None,
        kept: _Kept | None,
    ) -> None:
        self.session = kept.session if kept else None
        self._client = client
        self._ladder = ladder
        self._begin = begin
        self._end = end
        self._repository = repository
        self._descriptor = descriptor
        self._turn = turn
        self._outflow = Outflow(source, descriptor, kept.marks if kept else None)
        self._step: Step | None = None
        self._furthest = 0
        self._breaks = 0
        self._resumes = 0
        self._was_renewed = False
        self._was_closed = False
        self._sent_chunks = False
        self._losses = 0

    @property
    def marks(self) -> HashMarks:
        return self._outflow.marks

    async def run(self) -> None:
        await self._resume_or_begin()
        while True:
            try:
                await self._go_on()
            except Renewed:
                self._was_renewed = True
                await self._find_place(
                    self._client.failures.denied(f"{self._client.registry} wants to know again who pushes.")
                )
            except UploadLost as lost:
                if await self._is_there_already():
                    return
                self._lost()
                self._begin_again()
                self._broke(lost.failure)
            except UpstreamUntrue:
                # The pieces may have been put together wrongly: the next try sends it as a whole, where there is a way.
                if self._was_closed:
                    self._refuse_chunks()
                raise
            except (UpstreamBroken, UpstreamTrouble, UpstreamRefused) as failure:
                if await self._answered(failure):
                    return
            else:
                return

    async def _go_on(self) -> None:
        """Send what is left, and close it."""
        digest, size = self._descriptor.digest, self._descriptor.size
        if self.session is None:
            self.session = await self._begin(self._repository, digest.algorithm)
            self._outflow.given = 0
        session = self.session
        while session.acknowledged < size or not size:
            step = self._step = self._ladder.step(size, session.acknowledged, session.least_bytes)
            self._sent_chunks = self._sent_chunks or step.rung is Rung.CHUNKS
            body = Body(partial(self._outflow.stretch, step.offset, step.end), step.length)
            try:
                if step.rung is Rung.WHOLE:
                    self._was_closed = True
                    await session.put(body, digest)
                    return
                start = step.offset if step.rung is Rung.CHUNKS else None
                await session.patch(body, digest, start=start, resend=self._was_renewed)
            finally:
                session.reached = max(session.reached, self._outflow.given)
            self._ladder.took(step)
            self._was_renewed = False
            if self._turn is not None and session.acknowledged < size:
                await self._turn()
        self._step, self._was_closed = None, True
        await session.put(None, digest)

    async def _answered(self, failure: UpstreamBroken | UpstreamTrouble | UpstreamRefused) -> bool:
        """Find out how to go on after a request that failed; True where the blob is there already. Raises it where that's no use."""
        step, least = self._step, self.session.least_bytes if self.session else 0
        if isinstance(failure, UpstreamBroken) or failure.status in _TOOK_LONG:
            if step is not None and (isinstance(failure, UpstreamStalled) or failure.status in _TOOK_LONG):
                self._ladder.took_long(step, least)
            if await self._is_there_already():
                return True
            await self._find_place(failure)
            return False
        if step is None or self.session is None:
            raise failure
        if failure.status == 413 and isinstance(failure, UpstreamRefused) and not isinstance(failure, UpstreamFull):
            if not self._ladder.too_large(step, least):
                raise self._too_large(failure, step)
            _log.info("%s takes less than %d bytes at once: %s", self._client.registry, step.length, failure)
            await self._resume_or_begin()
            return False
        is_failed_piece = failure.status == 500 and step.rung is Rung.CHUNKS
        if failure.status not in _NO_SUCH_WAY and "UNSUPPORTED" not in failure.codes and not is_failed_piece:
            raise failure
        if failure.status == 416 and step.rung is Rung.CHUNKS and await self._is_elsewhere(step):
            self._broke(failure)
        elif self._ladder.refused(step):
            _log.info("%s takes no uploads in this way (%s): %s", self._client.registry, step.rung, failure)
            self._begin_again()
        else:
            raise failure
        return False

    async def _find_place(self, failure: UpstreamFailure) -> None:
        """Go on at the place that the registry has come to, or from the start; raises the failure where that was tried enough."""
        step, before = self._step, self.session
        await self._resume_or_begin()
        kept_nothing = self.session is before and step is not None and self._place <= step.offset
        self._broke(failure)
        if kept_nothing and self._breaks > 1 and step is not None:
            # The third time in smaller pieces: it may have been refused for its size by something that just hangs up.
            self._ladder.took_long(step, before.least_bytes if before else 0)

    async def _resume_or_begin(self) -> None:
        if self.session is not None and not (await self.session.ask() and (self._ladder.goes_on or not self._place)):
            self._begin_again()

    def _lost(self) -> None:
        """A registry that loses an upload between two pieces, twice, takes none."""
        if self._step is not None and self._step.rung is Rung.CHUNKS:
            self._losses += 1
            if self._losses > 1:
                self._refuse_chunks()

    def _refuse_chunks(self) -> None:
        if self._sent_chunks:
            self._ladder.refused(Step(Rung.CHUNKS, 0, self._descriptor.size))

    def _begin_again(self) -> None:
        if self.session is not None:
            self._end(self.session)
            self.session, self._was_closed = None, False

    async def _is_elsewhere(self, step: Step) -> bool:
        """Whether the registry has come to another place than a chunk began at."""
        if self.session is not None and not await self.session.ask():
            self._begin_again()
        return self._place != step.offset

    @property
    def _place(self) -> int:
        return self.session.acknowledged if self.session else 0

    def _broke(self, failure: UpstreamFailure) -> None:
        """Count it: breaks that get further are borne with, others are not many."""
        self._resumes += 1
        self._breaks = 1 if self._place > self._furthest else self._breaks + 1
        self._furthest = max(self._furthest, self._place)
        if self._breaks > self._client.retry.tries or self._resumes > self._client.retry.resumes:
            raise failure
        _log.info(
            "%s: blob %s goes on at %d of %d bytes: %s",
            self._client.registry, self._descriptor.digest.short, self._place, self._descriptor.size, failure,
        )  # fmt: skip

    async def _is_there_already(self) -> bool:
        """Whether the blob is complete after all: what closed it was done, and the answer to it got lost."""
        if not self._was_closed:
            return False
        url = self._client.url(f"{self._repository}/blobs/{self._descriptor.digest}")
        async with self._client.request("HEAD", url, push_scope(self._repository), headers={"Accept": "*/*"}) as answer:
            return answer.status == 200 and answer.headers.get("content-length", "") == str(self._descriptor.size)

    def _too_large(self, failure: UpstreamRefused, step: Step) -> UpstreamRefused:
        return UpstreamRefused(
            failure.upstream,
            failure.title,
            failure.message,
            hint=f"Something before it takes no {step.length:,} bytes at once: raise its limit (nginx: client_max_body_size).",
            status=413,
            codes=failure.codes,
        )


def _is_worth_keeping(error: BaseException) -> bool:
    """Whether the upload may still be there, and the next try may go on with it. Who gave it up for good says so (`abandon`)."""
    if isinstance(error, UpstreamAway | asyncio.CancelledError):
        return True
    return isinstance(error, UpstreamTrouble) and (error.status is None or error.status in _LATER)
