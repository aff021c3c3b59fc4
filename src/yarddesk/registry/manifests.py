"""Manifests: pulled, pushed and deleted, by tag and by digest (distribution specification v1.1, end-3, end-7, end-9)."""

import asyncio
from functools import lru_cache
from typing import Final

from starlette.requests import Request

from yarddesk.content.listener import PushListener
from yarddesk.content.pull_through import PullThrough
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.threads import in_thread
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, parse_reference
from yarddesk.registry.answers import Answer
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import Room, check_conditions, check_if_match, is_conditional, names_etag
from yarddesk.registry.wire import STALE, Header, Refused

_PARSED_HERE_BYTES: Final = 64 * 1024
"""Larger manifests are parsed in a thread, so that the loop goes on."""


_ROOM_BYTES: Final = 8 * MAX_MANIFEST_BYTES
"""For all manifests that are coming in: those of images have a few KiB, and a thousand clients shall not fill the memory."""


class Manifests:
    """What the specification's requests do with them; what is pushed goes through `intake`."""

    def __init__(self, store: Store, pull_through: PullThrough, listener: PushListener, intake: ManifestIntake) -> None:
        self._store = store
        self._pull_through = pull_through
        self._listener = listener
        self._intake = intake
        self._room = Room(_ROOM_BYTES)
        # Read as JSON, a large one takes some twenty times its bytes.
        self._parsing = asyncio.Semaphore(2)

    # Pulls

    def head_at_once(self, route: Route, if_none_match: bytes | None) -> Answer | None:
        """The answer to a HEAD where memory has it; None where it takes more. Raises InvalidTag or InvalidDigest."""
        repository, reference = route.name, _parse_often(route.rest)
        descriptor = self._store.resolve_cached(repository, reference)
        if descriptor is None or not self._is_current(repository, reference):
            return None
        self._promise(reference)
        self._pull_through.used(repository, descriptor.digest)
        return _described(descriptor, if_none_match.decode("latin-1") if if_none_match else None)

    async def get(self, request: Request, route: Route) -> Answer:
        """GET and HEAD."""
        repository, reference = route.name, parse_reference(route.rest)
        condition = request.headers.get("if-none-match")
        if request.method == "HEAD" or is_conditional(request):
            resolved = await self._resolve(repository, reference, quick=request.method == "HEAD")
            if resolved is not None:
                check_if_match(request, resolved[0].digest)
            if resolved is not None and (request.method == "HEAD" or names_etag(condition, resolved[0].digest)):
                self._promise(reference)
                return _described(resolved[0], condition, stale=resolved[1])
        else:
            resolved = await self._resolve_here(repository, reference)
        found = await self._fetch(repository, reference, resolved)
        if found is None:
            raise NotFound(f"There is no {reference} in {repository}.")
        manifest, stale = found
        return _described(manifest.descriptor, None, content=manifest.content, stale=stale)

    async def _resolve(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> tuple[Descriptor, bool] | None:
        here = await self._resolve_here(repository, reference)
        if here is not None:
            return here
        answer = await self._pull_through.resolve_manifest(repository, reference, quick=quick)
        if answer is None:
            raise NotFound(f"There is no {reference} in {repository}.")
        return answer.descriptor, answer.stale

    async def _resolve_here(self, repository: RepositoryName, reference: Reference) -> tuple[Descriptor, bool] | None:
        if not self._is_current(repository, reference):
            return None
        here = self._store.resolve_cached(repository, reference)
        if here is None:
            try:
                here = await self._store.resolve(repository, reference)
            except NotFound:
                return None
        self._pull_through.used(repository, here.digest)
        return here, False

    async def _fetch(
        self, repository: RepositoryName, reference: Reference, resolved: tuple[Descriptor, bool] | None
    ) -> tuple[Manifest, bool] | None:
        if resolved is not None:
            try:
                return await self._store.get_manifest(repository, resolved[0].digest), resolved[1]
            except NotFound:
                pass  # deleted since, or known upstream alone
        fetched = await self._pull_through.fetch_manifest(repository, reference)
        return None if fetched is None else (fetched.manifest, fetched.stale)

    def _promise(self, reference: Reference) -> None:
        """A client that asks for a manifest by its digest may be about to push an index that names it, or a tag."""
        if isinstance(reference, Digest):
            self._store.promise_manifest(reference)

    def _is_current(self, repository: RepositoryName, reference: Reference) -> bool:
        return isinstance(reference, Digest) or self._pull_through.is_fresh(repository, reference)

    # Pushes

    async def put(self, request: Request, route: Route) -> Answer:
        """Taken in, with its tags, and only then the 201."""
        repository, reference = route.name, parse_reference(route.rest)
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity":
            message = f"A manifest is sent as it is, not in the coding “{coding[:40]}”."
            raise Refused(ErrorCode.UNSUPPORTED, message, status=415, headers=((b"accept-encoding", b"identity"),))
        limit = f"A manifest has {MAX_MANIFEST_BYTES:,} bytes at most."
        content = await self._room.read(request, MAX_MANIFEST_BYTES, limit)
        digest = _claimed_digest(reference, content)
        media_type = _media_type(request.headers.get("content-type", ""))
        if len(content) > _PARSED_HERE_BYTES:
            async with self._parsing:
                manifest = await in_thread(parse_manifest, content, media_type, digest=digest)
        else:
            manifest = parse_manifest(content, media_type, digest=digest)
        _media_type(manifest.media_type)
        named = request.query_params.getlist("tag") if isinstance(reference, Digest) else []
        tags = tuple(dict.fromkeys([reference] if isinstance(reference, Tag) else [Tag.parse(tag) for tag in named]))
        await self._intake.take(
            repository, manifest, tags, check=lambda: self._check_conditions(request, repository, reference)
        )
        return _created(repository, manifest, tags if named else ())

    async def _check_conditions(self, request: Request, repository: RepositoryName, reference: Reference) -> None:
        if not is_conditional(request):
            return
        try:
            current = (await self._store.resolve(repository, reference)).digest
        except NotFound:
            current = None
        check_conditions(request, current, reference)

    # Deletes

    async def delete(self, request: Request, route: Route) -> Answer:
        """A tag alone, or a manifest with the tags that name it; never anything upstream."""
        repository, reference = route.name, parse_reference(route.rest)
        async with self._intake.alone(repository, reference):
            await self._check_conditions(request, repository, reference)
            if isinstance(reference, Tag):
                await self._delete_tag(repository, reference)
            else:
                await self._delete_manifest(repository, reference)
        return Answer(202)

    # What is not here may have gone when it was asked for before, and its queue entries not: so they go all the same.

    async def _delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        try:
            await self._store.delete_tag(repository, tag)
        except NotFound:
            await self._listener.tag_deleted(repository, tag)
            raise
        await self._listener.tag_deleted(repository, tag)

    async def _delete_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        try:
            tags = await self._store.delete_manifest(repository, digest)
        except NotFound:
            await self._listener.manifest_deleted(repository, digest, ())
            raise
        await self._listener.manifest_deleted(repository, digest, tuple(tags))


_parse_often = lru_cache(maxsize=512)(parse_reference)


def _claimed_digest(reference: Reference, content: bytes) -> Digest | None:
    if isinstance(reference, Tag):
        return None
    if not reference.matches(content):
        raise Refused(ErrorCode.DIGEST_INVALID, f"The manifest is not the content of {reference}.")
    return reference


def _media_type(text: str) -> str:
    """The type without parameters. Raises InvalidManifest for one that a browser might take for a page."""
    media_type = text.partition(";")[0].strip()
    kind, _, name = media_type.lower().partition("/")
    plain = name.replace("+", "").replace(".", "").replace("-", "").replace("_", "")
    if media_type and not (kind == "application" and plain.isascii() and plain.isalnum() and name.endswith("json")):
        raise InvalidManifest(f"“{media_type[:100]}” is not a manifest's media type.")
    return media_type


def _described(
    descriptor: Descriptor, condition: str | None, *, content: bytes | None = None, stale: bool = False
) -> Answer:
    digest = descriptor.digest.encode()
    headers: list[Header] = [(b"docker-content-digest", digest), (b"etag", b'"%b"' % digest)]
    if stale:
        headers.append(STALE)
    if condition is not None and names_etag(condition, descriptor.digest):
        return Answer(304, headers)
    headers.append((b"content-type", descriptor.media_type.encode("latin-1")))
    return Answer(200, headers, content or b"", descriptor.size)


def _created(repository: RepositoryName, manifest: Manifest, named: tuple[Tag, ...]) -> Answer:
    digest = manifest.digest.encode()
    headers: list[Header] = [
        (b"location", f"/v2/{repository}/manifests/{manifest.digest}".encode()),
        (b"docker-content-digest", digest),
    ]
    if manifest.subject is not None:
        headers.append((b"oci-subject", manifest.subject.digest.encode()))
    if named:
        headers.append((b"oci-tag", ", ".join(named).encode()))
    return Answer(201, headers)
