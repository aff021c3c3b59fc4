"""A registry that behaves as a profile says: strict, in memory, over real HTTP; what that registry refuses, it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.peers.http_wire import HEAD_BYTES, Head, Pipe
from tests.support.asyncio_servers import stop_listening
from yarddesk.oci.digest import Digest
from yarddesk.upstream.profiles import LocationForm, Profile, Refusal, Rung

ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>blobs/uploads|blobs|manifests|tags|referrers)/(?P<rest>[^/]*)")
PAGE = b"<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>"
_INDEX = "application/vnd.oci.image.index.v1+json"
_UPLOAD = "BLOB_UPLOAD_INVALID"


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    early: bool = False


@dataclass
class Upload:
    """What came of a blob, in `steps` requests; `first` bytes with the first of them, `short`: the last one was too small."""

    repository: str
    content: bytearray = field(default_factory=bytearray)
    steps: int = 0
    first: int = 0
    short: bool = False


@dataclass
class Repository:
    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One that came, and what it was answered with (0: nothing, its connection broke)."""

    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int = 0
    status: int = 0


class FakeRegistry:
    """most_body_bytes: what stands before it takes, with 413 beyond. tokens: those that are good; `expire` makes all of them bad.
    least_told: its OCI-Chunk-Min-Length. throttled: so many requests are answered with 429. made_elsewhere: the repositories
    that another API made. cut_at: after so many bytes of a blob its connection breaks, once; expire_at: it keeps those, and
    says once that the token is over."""

    def __init__(self, profile: Profile, *, most_body_bytes: int = 0, least_told: int = 0) -> None:
        self.profile = profile
        self.most_body_bytes = most_body_bytes
        self.least_told = least_told
        self.throttled = 0
        self.cut_at: int | None = None
        self.expire_at: int | None = None
        self.made_elsewhere: Callable[[], Collection[str]] = tuple
        self.host = ""
        self.requests: list[Request] = []
        self.content: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, Upload] = {}
        self.blob_bytes_received = 0
        self._numbers = 0
        self._tokens: set[str] = set()
        self._needs_token = any(sign.header == "www-authenticate" for sign in profile.signs)

    def make(self, name: str) -> Repository:
        """Make a repository, as a person does where a push doesn't."""
        return self.repositories.setdefault(name, Repository())

    def of(self, *methods: str, path: str = "") -> list[Request]:
        return [each for each in self.requests if each.method in methods and re.search(path, each.path)]

    def expire(self) -> None:
        self._tokens.clear()
        self._needs_token = True

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[FakeRegistry]:
        tasks: set[asyncio.Task[Any]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while await self._one(Pipe(reader, writer)):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client went away
            finally:
                writer.close()
                tasks.discard(task)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            await stop_listening(server)
            left = list(tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _one(self, pipe: Pipe) -> bool:
        head = await pipe.head()
        request = Request(head.method, head.path, head.headers)
        self.requests.append(request)
        said = self._before_the_body(head)
        if said is None:
            upload = self._upload_of(head) if head.method in ("PATCH", "PUT") else None
            body = bytearray()
            try:
                async for piece in pipe.body(head, until_end=False):
                    if upload is not None and self.cut_at is not None:
                        piece = piece[: self.cut_at - len(body)]
                    body += piece
                    request.body_bytes += len(piece)
                    self.blob_bytes_received += len(piece) if upload is not None else 0
                    if upload is not None and len(body) == self.cut_at:
                        self.cut_at = None
                        pipe.writer.transport.abort()
                        raise ConnectionResetError
            except (asyncio.IncompleteReadError, ConnectionError):
                self._broken(head, upload, body)
                raise
            if upload is not None and self.expire_at is not None and len(body) > self.expire_at:
                upload.content += body[: self.expire_at]
                self.expire_at = None
                self.expire()
                said = self._unauthorized()
            else:
                said = self._answer(head, upload, bytes(body))
        elif not said.early:
            async for _ in pipe.body(head, until_end=False):
                pass
        request.status = said.status
        await self._say(pipe, head, said)
        return not said.early

    async def _say(self, pipe: Pipe, head: Head, said: Said) -> None:
        length = said.headers.get("Content-Length", str(len(said.body)))
        lines = {**self._signs(), **said.headers, **({} if said.status == 204 else {"Content-Length": length})}
        if said.early:
            lines["Connection"] = "close"
        answer = Head(f"HTTP/1.1 {said.status} So", list(lines.items()))
        await pipe.write(answer.encode() + (b"" if head.method == "HEAD" else said.body))
        if said.early:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while await pipe.reader.read(HEAD_BYTES):
                        pass

    def _signs(self) -> dict[str, str]:
        return {sign.header: sign.example for sign in self.profile.signs if sign.header != "www-authenticate"}

    # --- what is answered without a look at the body

    def _before_the_body(self, head: Head) -> Said | None:
        path = head.path.partition("?")[0]
        if path.endswith(("/token", "/v2/auth", "/jwt/auth")):
            self._numbers += 1
            self._tokens.add(f"token-{self._numbers}")
            return _document({"token": f"token-{self._numbers}", "expires_in": 300})
        if self.throttled:
            self.throttled -= 1
            return self._refused(Refusal(429, "TOOMANYREQUESTS", "slow down"))
        if self._needs_token and head.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return self._unauthorized()
        if self.most_body_bytes and (head.length or 0) > self.most_body_bytes:
            return Said(413, {"Content-Type": "text/html"}, PAGE, early=True)
        return None

    def _unauthorized(self) -> Said:
        challenge = f'Bearer realm="http://{self.host}/token",service="{self.profile.name}"'
        for sign in self.profile.signs:
            if sign.header == "www-authenticate":
                challenge = sign.example.replace("HOST", f"http://{self.host}")
        refused = self._refused(Refusal(401, "UNAUTHORIZED", "authentication required"))
        return Said(401, {**refused.headers, "WWW-Authenticate": challenge}, refused.body)

    def _upload_of(self, head: Head) -> Upload | None:
        path, _, query = head.path.partition("?")
        upload = self.uploads.get(path.rpartition("/")[2]) if "/blobs/uploads/" in path else None
        stale = self.profile.location is LocationForm.WITH_PARAMETERS and upload is not None
        if stale and upload is not None and _parameters(query).get("_state") != f"{upload.steps}=":
            return None
        return upload

    def _broken(self, head: Head, upload: Upload | None, body: bytearray) -> None:
        if upload is None:
            return
        if self.profile.keeps_broken_uploads:
            upload.content += body
        else:
            self.uploads = {name: each for name, each in self.uploads.items() if each is not upload}

    # --- the API

    def _answer(self, head: Head, upload: Upload | None, body: bytes) -> Said:
        path, _, query = head.path.partition("?")
        if path == "/v2/":
            return _document({})
        route = ROUTE.fullmatch(unquote(path))
        if route is None:
            return self._refused(Refusal(404, "NAME_INVALID"))
        name, rest, parameters = route["name"], route["rest"], _parameters(query)
        known = self.repositories.get(name)
        if known is None and name in self.made_elsewhere():
            known = self.make(name)
        if known is None and head.method in ("POST", "PUT"):
            if self.profile.missing_repository is not None:
                return self._refused(self.profile.missing_repository)
            known = self.make(name)
        match route["kind"]:
            case "blobs/uploads":
                return self._uploads(head, name, rest, parameters, upload, body)
            case "blobs":
                return self._blob(head, known, rest)
            case "manifests":
                return self._manifest(head, known, rest, body)
            case "tags":
                return self._tags(name, known, parameters)
            case _:
                return self._referrers(known, rest)

    def _uploads(
        self, head: Head, name: str, rest: str, parameters: dict[str, str], upload: Upload | None, body: bytes
    ) -> Said:
        if head.method == "POST":
            return self._begun(name, parameters)
        if head.method in ("GET", "DELETE"):
            upload = self._upload_of(head)
        if upload is None:
            return self._refused(Refusal(404, _UPLOAD, "blob upload invalid"))
        match head.method:
            case "GET":
                return self._place(204, rest, upload)
            case "DELETE" if not self.profile.ends_uploads:
                return self._refused(Refusal(403, "DENIED", "requires the scope delete"))
            case "DELETE":
                del self.uploads[rest]
                return Said(204)
            case "PATCH":
                return self._patched(head, rest, upload, body)
            case _:
                return self._closed(head, name, rest, parameters["digest"], upload, body)

    def _begun(self, name: str, parameters: dict[str, str]) -> Said:
        if "mount" in parameters:
            if self.profile.no_mounts is not None:
                return self._refused(self.profile.no_mounts)
            source = self.repositories.get(parameters["from"])
            if source is not None and parameters["mount"] in source.blobs:
                self.make(name).blobs.add(parameters["mount"])
                return Said(201, {"Docker-Content-Digest": parameters["mount"]})
        self._numbers += 1
        number = f"upload-{self._numbers}"
        self.uploads[number] = Upload(name)
        said = self._place(202, number, self.uploads[number])
        return Said(202, said.headers | ({"OCI-Chunk-Min-Length": str(self.least_told)} if self.least_told else {}))

    def _place(self, status: int, number: str, upload: Upload) -> Said:
        path = f"/v2/{upload.repository}/blobs/uploads/{number}"
        match self.profile.location:
            case LocationForm.RELATIVE:
                location = path
            case LocationForm.ABSOLUTE:
                location = f"http://{self.host}{path}"
            case LocationForm.WITH_PARAMETERS:
                location = f"http://{self.host}{path}?_state={upload.steps}%3D"
        has = len(upload.content) if self.profile.range_is_true else upload.first
        return Said(status, {"Location": location, "Range": f"0-{max(has - 1, 0)}"})

    def _patched(self, head: Head, number: str, upload: Upload, body: bytes) -> Said:
        ranged = head.headers.get("content-range")
        if (Rung.STREAM if ranged is None else Rung.CHUNKS) not in self.profile.ladder:
            return self._refused(Refusal(405, "UNSUPPORTED", "not in this way"))
        if ranged is not None:
            start, _, end = ranged.partition("-")
            if int(end) - int(start) + 1 != len(body):
                return self._refused(Refusal(400, "SIZE_INVALID", "Content-Range and body differ"))
            if self.profile.most_chunk_bytes and len(body) > self.profile.most_chunk_bytes:
                return self._refused(Refusal(416, _UPLOAD, "chunk exceeds the limit"))
            if int(start) != len(upload.content):
                return self._refused(Refusal(416, _UPLOAD, f"expected {len(upload.content)}"))
        if upload.short:
            return self._refused(Refusal(400, "SIZE_INVALID", "the chunk before this one was too small"))
        upload.content += body
        upload.steps += 1
        upload.first = upload.first or len(body)
        upload.short = len(body) < max(self.profile.least_chunk_bytes, self.least_told)
        return self._place(self.profile.patch_status, number, upload)

    def _closed(self, head: Head, name: str, number: str, digest: str, upload: Upload, body: bytes) -> Said:
        if body and Rung.WHOLE not in self.profile.ladder:
            return self._refused(Refusal(405, "UNSUPPORTED", "not in this way"))
        content = bytes(upload.content) + body
        if not Digest.parse(digest).matches(content):
            return self._refused(Refusal(400, "DIGEST_INVALID", "other bytes"))
        del self.uploads[number]
        self.content[digest] = content
        self.make(name).blobs.add(digest)
        return Said(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})

    def _blob(self, head: Head, known: Repository | None, digest: str) -> Said:
        if known is None or digest not in known.blobs:
            return self._refused(Refusal(404, "BLOB_UNKNOWN"))
        content = self.content[digest]
        return Said(200, {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}, content)

    def _manifest(self, head: Head, known: Repository | None, reference: str, body: bytes) -> Said:
        if head.method == "PUT":
            assert known is not None
            return self._put(head, known, reference, body)
        digest = reference if known is None else known.tags.get(reference, reference)
        if known is None or digest not in known.manifests:
            return self._refused(Refusal(404, self.profile.unknown_manifest, "manifest unknown"))
        media_type, content = known.manifests[digest]
        return Said(200, {"Docker-Content-Digest": digest, "Content-Type": media_type}, content)

    def _put(self, head: Head, known: Repository, reference: str, body: bytes) -> Said:
        document, digest = json.loads(body), str(Digest.of(body))
        blobs = {each["digest"] for each in [*document.get("layers", ()), *filter(None, [document.get("config")])]}
        children = {each["digest"] for each in document.get("manifests", ())}
        if not blobs <= known.blobs or not children <= set(known.manifests):
            return self._refused(Refusal(400, "MANIFEST_BLOB_UNKNOWN", "blobs unknown"))
        if ":" in reference and reference != digest:
            return self._refused(Refusal(400, "DIGEST_INVALID"))
        if self.profile.immutable_tag is not None and known.tags.get(reference, digest) != digest:
            return self._refused(self.profile.immutable_tag)
        known.manifests[digest] = (head.headers["content-type"], body)
        if ":" not in reference:
            known.tags[reference] = digest
        subject = document.get("subject") if self.profile.lists_referrers else None
        told = {"OCI-Subject": subject["digest"]} if subject else {}
        return Said(201, {"Docker-Content-Digest": digest, **told})

    def _tags(self, name: str, known: Repository | None, parameters: dict[str, str]) -> Said:
        if known is None:
            return self._refused(Refusal(404, "NAME_UNKNOWN"))
        names = sorted(tag for tag in known.tags if tag > parameters.get("last", ""))
        most = min(int(parameters.get("n", self.profile.page_most)), self.profile.page_most)
        page: list[str | None] = [*names[:most]]
        more = {"Link": f'</v2/{name}/tags/list?n={most}&last={page[-1]}>; rel="next"'} if len(names) > most else {}
        page += [digest.replace(":", "__") for digest in known.manifests] if self.profile.lists_digests else []
        page += [None, ""] if self.profile.lists_nulls else []
        return _document({"name": name, "tags": page}, more)

    def _referrers(self, known: Repository | None, digest: str) -> Said:
        if not self.profile.lists_referrers:
            return Said(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        found = []
        for name, (media_type, content) in (known or Repository()).manifests.items():
            if json.loads(content).get("subject", {}).get("digest") == digest:
                found.append({"mediaType": media_type, "digest": name, "size": len(content)})
        said = _document({"schemaVersion": 2, "mediaType": _INDEX, "manifests": found})
        return Said(200, {"Content-Type": _INDEX}, said.body)

    def _refused(self, refusal: Refusal) -> Said:
        if self.profile.plain_errors:
            return Said(refusal.status, {"Content-Type": "text/plain"}, f"{refusal.message}\n".encode())
        error = {"code": refusal.code, "message": refusal.message}
        return Said(refusal.status, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode())


def _document(document: object, headers: dict[str, str] | None = None) -> Said:
    return Said(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


def _parameters(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query).items()}
