"""Sending a blob to a registry (OCI distribution specification v1.1, "Pushing blobs").

A small blob goes as one PUT. A larger one goes as one streamed PATCH, as Docker and podman send theirs, with an empty PUT to
close it, which can be repeated cheaply; where a registry has no PATCH, that is remembered, and it goes as one PUT as well.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import httpx

from yarddesk.content.target import ContentSource, NotFound
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure, UpstreamMissing, UpstreamRefused
from yarddesk.content.verify import VerifyingReader
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCTET_STREAM
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream.client import RegistryClient, push_scope
from yarddesk.upstream.http import Answer, Body
from yarddesk.upstream.tokens import Scopes

_log = logging.getLogger(__name__)

_SMALL_BYTES: Final = 4 * 1024 * 1024
_CANCEL_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 0.5
_NO_PATCH: Final = frozenset({405, 411, 415, 416, 501})


class _PatchRefused(Exception):
    """This registry takes no streamed PATCH."""


class Uploader:
    """Uploads to the repositories of one registry, and the clearing away of those that ended badly."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._cancelling: set[asyncio.Task[None]] = set()

    async def push(self, repository: RepositoryName, descriptor: Descriptor, source: ContentSource) -> None:
        """Send a blob. Raises DigestMismatch, before it is complete there, when the source's bytes are not the descriptor's."""
        if descriptor.size > _SMALL_BYTES and self._client.abilities.streams_patches:
            try:
                return await self._push(repository, descriptor, source, streamed=True)
            except _PatchRefused:
                self._client.abilities.streams_patches = False
        await self._push(repository, descriptor, source, streamed=False)

    async def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Whether the registry made a blob of the repository `source` one of `repository` too."""
        path = f"{repository}/blobs/uploads/?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
        try:
            return await self._mount(self._client.url(path), push_scope(repository, source), digest)
        except (UpstreamDenied, UpstreamRefused, NotFound) as failure:
            # No right to read there, no such repository, no mounts here: it's sent after all, which tells what is really wrong.
            _log.debug("no mount of %s from %s: %s", digest.short, source, failure)
            return False

    async def aclose(self) -> None:
        """Give the sessions that are being cancelled a moment; the registry collects what is left of them by itself."""
        if self._cancelling:
            _, late = await asyncio.wait(self._cancelling, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _mount(self, url: httpx.URL, scopes: Scopes, digest: Digest) -> bool:
        async with self._client.request("POST", url, scopes, repeatable=True) as answer:
            if answer.status == 201:
                self._check_digest(answer, digest)
                return True
            if answer.status == 202:
                location = self._client.location(answer)
                if location is not None:
                    self._cancel(location, scopes)
                return False
            raise await self._client.failure(answer, f"a mount of blob {digest.short}")

    async def _push(
        self, repository: RepositoryName, descriptor: Descriptor, source: ContentSource, *, streamed: bool
    ) -> None:
        scopes = push_scope(repository)
        location = await self._start(repository, scopes, descriptor.digest.algorithm)
        body = Body(lambda: _verified(source, descriptor), descriptor.size)
        try:
            if streamed:
                location = await self._patch(location, scopes, body, descriptor)
                await self._put(location, scopes, None, descriptor)
            else:
                await self._put(location, scopes, body, descriptor)
        except BaseException as error:
            if not isinstance(error, UpstreamFailure) or error.status is not None:
                self._cancel(location, scopes)
            raise

    async def _start(self, repository: RepositoryName, scopes: Scopes, algorithm: str) -> httpx.URL:
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        url = self._client.url(f"{repository}/blobs/uploads/{query}")
        async with self._client.request("POST", url, scopes, repeatable=True) as answer:
            if answer.status == 202 and (location := self._client.location(answer)) is not None:
                return location
            if answer.status < 400:
                raise self._client.failures.not_a_registry(
                    "It did not say where to send the content.", status=answer.status
                )
            failure = await self._client.failure(answer, f"pushes to {repository}")
            raise self._unknown_repository(repository, failure) if isinstance(failure, NotFound) else failure

    def _unknown_repository(self, repository: RepositoryName, failure: YarddeskError) -> UpstreamMissing:
        return UpstreamMissing(
            self._client.failures.name,
            f"{self._client.registry} has no repository {repository}.",
            failure.message,
            hint="This registry makes none by itself: create it there.",
            status=404,
        )

    async def _patch(self, location: httpx.URL, scopes: Scopes, body: Body, descriptor: Descriptor) -> httpx.URL:
        headers = {"Content-Type": OCTET_STREAM}
        async with self._client.request("PATCH", location, scopes, headers=headers, body=body) as answer:
            if answer.status in (201, 202, 204):
                return self._client.location(answer) or location
            failure = await self._client.failure(answer, f"blob {descriptor.digest.short}")
            if answer.status in _NO_PATCH or "UNSUPPORTED" in getattr(failure, "codes", ()):
                _log.info("%s takes no streamed uploads: %s", self._client.registry, failure)
                raise _PatchRefused
            raise self._session_gone(failure)

    async def _put(self, location: httpx.URL, scopes: Scopes, body: Body | None, descriptor: Descriptor) -> None:
        query = location.query.decode("ascii")
        closing = f"{query}&" if query else ""
        path = location.raw_path.decode("ascii").partition("?")[0]
        url = location.copy_with(raw_path=f"{path}?{closing}digest={quote(descriptor.digest, safe='')}".encode("ascii"))
        request = self._client.request(
            "PUT",
            url,
            scopes,
            headers={"Content-Type": OCTET_STREAM},
            body=body,
            answer_seconds=self._client.timeouts.commit_seconds,
        )
        async with request as answer:
            if answer.status in (201, 204):
                self._check_digest(answer, descriptor.digest)
                return
            failure = await self._client.failure(answer, f"blob {descriptor.digest.short}")
            if isinstance(failure, UpstreamRefused) and "DIGEST_INVALID" in failure.codes:
                raise self._client.failures.untrue(
                    f"{self._client.registry} got other bytes than were sent.", failure.message, status=answer.status
                )
            raise self._session_gone(failure)

    def _session_gone(self, failure: UpstreamFailure | NotFound) -> UpstreamFailure:
        if isinstance(failure, UpstreamFailure):
            return failure
        return self._client.failures.untrue(
            f"{self._client.registry} lost the upload that was going on.", failure.message, status=404
        )

    def _check_digest(self, answer: Answer, digest: Digest) -> None:
        reported = answer.headers.get("docker-content-digest", "")
        if reported and reported != digest:
            raise self._client.failures.untrue(
                f"{self._client.registry} kept other content than was sent.",
                f"It reports {reported[:160]} for {digest}.",
                status=answer.status,
            )

    def _cancel(self, location: httpx.URL, scopes: Scopes) -> None:
        # Not awaited: a cancelled push ends at once, and whether the session goes now or expires matters little.
        task = asyncio.get_running_loop().create_task(self._cancelled(location, scopes))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancelled(self, location: httpx.URL, scopes: Scopes) -> None:
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                async with self._client.request("DELETE", location, scopes) as answer:
                    await answer.read()
        except (YarddeskError, TimeoutError) as error:
            _log.debug("an upload session of %s was left to expire: %s", self._client.registry, error)


@asynccontextmanager
async def _verified(source: ContentSource, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
    """The source's bytes, the last of them only when they were all right: nothing wrong ever becomes complete over there."""
    async with source(0) as pieces:
        checked = aiter(VerifyingReader(pieces, descriptor.digest, descriptor.size))
        try:
            yield checked
        finally:
            if isinstance(checked, AsyncGenerator):
                await checked.aclose()
