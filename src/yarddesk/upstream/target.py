"""One repository of an upstream as a target (OCI distribution specification v1.1)."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from yarddesk.content.target import ContentSource, ContentStream, DigestMismatch, NotFound, Turn
from yarddesk.content.threads import in_thread
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamRefused, UpstreamTimeout
from yarddesk.content.verify import VerifyingReader, whole_manifest
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.media_types import ACCEPT_MANIFESTS, OCTET_STREAM
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference
from yarddesk.upstream.client import RegistryClient, pull_scope, push_scope
from yarddesk.upstream.download import Download
from yarddesk.upstream.http import Answer, Body
from yarddesk.upstream.listing import list_referrers, list_tags
from yarddesk.upstream.referrers_tag import ReferrersTags
from yarddesk.upstream.upload import Uploader
from yarddesk.upstream.words import is_page

_ACCEPT: Final = {"Accept": ACCEPT_MANIFESTS}
_TAKES_NO_HEAD: Final = frozenset({405, 501})
"""What a server without HEAD answers to one."""

_BLOB_LOST: Final = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


class RegistryRepository:
    """`name` is the repository's name at the upstream; `remote_name` maps a name of ours to one there, None where it has none.

    `for_pushes`: reads come with the rights to write, as Docker's pushes do: Docker Hub denies reading what doesn't exist yet,
    and one token does for all. `check_timeout` bounds the question whether a tag changed, and a manifest's answer up to its
    body; 0: no bound.
    """

    def __init__(
        self,
        client: RegistryClient,
        uploader: Uploader,
        referrers: ReferrersTags,
        name: RepositoryName,
        remote_name: Callable[[RepositoryName], RepositoryName | None],
        *,
        for_pushes: bool = False,
        check_timeout: timedelta = timedelta(0),
    ) -> None:
        self._client = client
        self._uploader = uploader
        self._referrers = referrers
        self._name = name
        self._remote_name = remote_name
        self._reading = push_scope(name) if for_pushes else pull_scope(name)
        # What keeps a push from arriving is told to a person; a pull has no time for another question.
        self._is_shown = for_pushes
        self._check_seconds = check_timeout.total_seconds() or None
        self._pushed: tuple[Descriptor, bytes] | None = None

    async def resolve(self, reference: Reference) -> Descriptor:
        try:
            async with asyncio.timeout(self._check_seconds):
                return await self._head_manifest(reference) or (await self.fetch_manifest(reference)).descriptor
        except TimeoutError as error:
            raise self._silent() from error

    async def exists(self, descriptor: Descriptor) -> bool:
        kind = "manifests" if descriptor.is_manifest else "blobs"
        url = self._client.url(f"{self._name}/{kind}/{descriptor.digest}")
        headers = _ACCEPT if descriptor.is_manifest else {"Accept": "*/*"}
        async with self._client.request("HEAD", url, self._reading, headers=headers) as answer:
            if answer.status == 200:
                self._refuse_pages(answer)
                length = _length(answer)
                # What is there with another size is not what we mean; pushed again, it will be.
                return length is None or length == descriptor.size
            what = f"{kind[:-1]} {descriptor.digest.short}"
            failure = await self._client.failure(answer, what)
            # No HEAD here, or a storage host that only takes GET: it can't be told, so it's sent.
            if isinstance(failure, NotFound | UpstreamRefused) or answer.status in _TAKES_NO_HEAD:
                return False
            if answer.sent_elsewhere and answer.status < 500:
                return False
            raise await self._client.failure(answer, what, in_words=self._is_shown)

    async def is_readable(self, descriptor: Descriptor) -> bool:
        # The HEAD of a registry whose storage lost a blob (a garbage collection, a cache that outlived it) is still answered
        # with 200, and so may be the GET: only the body then lacks.
        if not descriptor.size:
            return True
        url = self._client.url(f"{self._name}/blobs/{descriptor.digest}")
        headers, answered = {"Accept": "*/*", "Range": "bytes=0-0"}, False
        try:
            async with self._client.request("GET", url, self._reading, headers=headers) as answer:
                if answer.status in (200, 206):
                    self._refuse_pages(answer)
                    answered = True
                    return bool(await answer.read(1))
                failure = await self._client.failure(answer, f"blob {descriptor.digest.short}")
                if isinstance(failure, NotFound | UpstreamRefused) or answer.status == 500:
                    return False
                raise failure
        except (UpstreamAway, UpstreamBroken):
            if answered:
                return False
            raise

    async def blob_size(self, digest: Digest) -> int:
        url = self._client.url(f"{self._name}/blobs/{digest}")
        what = f"blob {digest.short}"
        async with self._client.request("HEAD", url, self._reading, headers={"Accept": "*/*"}) as answer:
            if answer.status == 200:
                self._refuse_pages(answer)
                length = _length(answer)
                if length is not None:
                    return length
            elif answer.status not in _TAKES_NO_HEAD and not answer.sent_elsewhere:
                raise await self._client.failure(answer, what)
        async with self._client.request("GET", url, self._reading, headers={"Accept": "*/*"}) as answer:
            if answer.status != 200:
                raise await self._client.failure(answer, what)
            self._refuse_pages(answer)
            length = _length(answer)
            return await self._counted(answer, digest) if length is None else length

    async def _counted(self, answer: Answer, digest: Digest) -> int:
        """How long a blob is that comes without a length: who has read it knows, and by its digest whether that was all of it."""
        reader = VerifyingReader(answer, digest)
        try:
            async for _ in reader:
                pass
        except DigestMismatch as error:
            raise self._client.failures.not_a_registry(
                f"It doesn't tell the size of blob {digest.short}, and sent other bytes, or not all of them."
            ) from error
        return reader.bytes_seen

    async def fetch_manifest(self, reference: Reference) -> Manifest:
        what = self._called(reference)
        url = self._client.url(f"{self._name}/manifests/{reference}")
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._check_seconds):
                    request = self._client.request("GET", url, self._reading, headers=_ACCEPT)
                    answer = await stack.enter_async_context(request)
            except TimeoutError as error:
                raise self._silent() from error
            if answer.status != 200:
                raise await self._client.failure(answer, what)
            self._client.quota.pulled(answer.headers)
            content = await self._client.read(answer, MAX_MANIFEST_BYTES, what)
            content_type = answer.headers.get("content-type", "")
        told = reference if isinstance(reference, Digest) else self._digest(answer, reference)
        if told is not None and not told.matches(content):
            raise self._client.failures.not_a_registry(f"The bytes that it sent for {what} are other ones.")
        try:
            known = reference if isinstance(reference, Digest) else None
            return parse_manifest(content, _manifest_type(content_type), digest=known, lenient=True)
        except InvalidManifest as error:
            message = " ".join(part for part in (error.title, error.message) if part)
            raise self._client.failures.untrue(
                f"{self._client.registry} has no usable manifest for {what}.", message
            ) from error

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> ContentStream:
        kind = "manifests" if descriptor.is_manifest else "blobs"
        url = self._client.url(f"{self._name}/{kind}/{descriptor.digest}")
        return Download(self._client, url, self._reading, descriptor, offset)

    async def push(self, descriptor: Descriptor, source: ContentSource, *, turn: Turn | None = None) -> None:
        if not descriptor.is_manifest:
            await self._uploader.push(self._name, descriptor, source, turn)
            return
        content = await whole_manifest(descriptor, source)
        subject_taken = await self._put_manifest(descriptor.digest, descriptor, content)
        if not subject_taken:
            manifest = await in_thread(
                parse_manifest, content, descriptor.media_type, digest=descriptor.digest, lenient=True
            )
            await self._referrers.add(self._name, manifest)
        self._pushed = (descriptor, content)

    async def mount(self, descriptor: Descriptor, source: RepositoryName) -> bool:
        remote = self._remote_name(source)
        return (
            remote is not None
            and remote != self._name
            and await self._uploader.mount(self._name, descriptor.digest, remote)
        )

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        if self._pushed is not None and self._pushed[0].digest == descriptor.digest:
            known, content = self._pushed
        else:
            manifest = await self.fetch_manifest(descriptor.digest)
            known, content = manifest.descriptor, manifest.content
        await self._put_manifest(tag, known, content)

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        found = await list_referrers(self._client, self._name, self._reading, digest, self.fetch_manifest)
        return [entry for entry in found if not artifact_type or entry.artifact_type == artifact_type]

    async def tags(self, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        return await list_tags(self._client, self._name, self._reading, last=last, limit=limit)

    async def _head_manifest(self, reference: Reference) -> Descriptor | None:
        """None where the answer doesn't tell all that a descriptor holds."""
        url = self._client.url(f"{self._name}/manifests/{reference}")
        async with self._client.request("HEAD", url, self._reading, headers=_ACCEPT) as answer:
            if answer.status in _TAKES_NO_HEAD:
                return None
            if answer.status != 200:
                raise await self._client.failure(answer, self._called(reference), in_words=self._is_shown)
            self._refuse_pages(answer)
            media_type = _manifest_type(answer.headers.get("content-type", ""))
            digest, size = self._digest(answer, reference), _length(answer)
            if not media_type or digest is None or not size:
                return None
            return Descriptor(media_type, digest, size, manifest=True)

    def _digest(self, answer: Answer, reference: Reference) -> Digest | None:
        try:
            reported = Digest.parse(answer.headers.get("docker-content-digest", ""))
        except InvalidDigest:
            return reference if isinstance(reference, Digest) else None
        if isinstance(reference, Digest) and reported != reference:
            raise self._client.failures.not_a_registry(f"It reports {reported} for {reference}.", status=answer.status)
        return reported

    async def _put_manifest(self, reference: Reference, descriptor: Descriptor, content: bytes) -> bool:
        """Whether the registry says that it lists the manifest among its subject's referrers."""
        what = self._called(reference)
        url = self._client.url(f"{self._name}/manifests/{quote(reference, safe=':')}")
        request = self._client.request(
            "PUT",
            url,
            push_scope(self._name),
            headers={"Content-Type": descriptor.media_type},
            body=Body.of(content),
            repeatable=True,
        )
        async with request as answer:
            if answer.status == 201:
                reported = answer.headers.get("docker-content-digest", "")
                if reported and reported != descriptor.digest:
                    message = f"It reports {reported[:160]} for {descriptor.digest}."
                    raise self._client.failures.untrue(
                        f"{self._client.registry} kept another manifest than was sent.", message, status=201
                    )
                return "oci-subject" in answer.headers
            failure = await self._client.failure(answer, what)
            if isinstance(failure, NotFound) or _BLOB_LOST.intersection(failure.codes):
                raise self._client.failures.untrue(
                    f"{self._client.registry} lacks content that it said it had.",
                    failure.message,
                    status=answer.status,
                    codes=_BLOB_LOST,
                )
            if "DIGEST_INVALID" in failure.codes:
                raise self._client.failures.untrue(
                    f"{self._client.registry} got another manifest than was sent.",
                    failure.message,
                    status=answer.status,
                )
            raise failure

    def _silent(self) -> UpstreamTimeout:
        return UpstreamTimeout(
            self._client.failures.name,
            f"{self._client.registry} gave no answer.",
            f"Nothing came for {self._check_seconds:g} s.",
            temporary=True,
        )

    def _refuse_pages(self, answer: Answer) -> None:
        if is_page(answer.headers.get("content-type", "")):
            raise self._client.failures.page("It answers with a web page.", status=answer.status)

    def _called(self, reference: Reference) -> str:
        shown = f"sha256 {reference.short}" if isinstance(reference, Digest) else ""
        return f"{self._name}@{shown}" if shown else format_reference(self._name, reference)


def _length(answer: Answer) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _manifest_type(content_type: str) -> str:
    """The media type; empty where the header says nothing of use, so that the document's own counts."""
    media_type = content_type.partition(";")[0].strip()
    return "" if media_type.lower() in (OCTET_STREAM, "application/json", "text/plain") else media_type
