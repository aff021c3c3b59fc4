"""What a client does to a yard, step by step, with a note of everything that it was promised."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.images import Content, Image, Index, build_image, build_index

REPOSITORY = "team/app"
OLD, NEW, OTHER = (build_image(name, (3000, 70_000)) for name in ("old", "new", "other"))
MULTI = build_index("multi", ("linux/amd64",))
PARTED = build_image("parted", (2_500_000,))


@dataclass
class Client:
    """A client of the registry at `url`, which writes to `log` what was promised: a line each, before it goes on."""

    url: str
    log: Path
    http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False, timeout=20)

    def note(self, *words: str) -> None:
        with self.log.open("a", buffering=1) as file:
            file.write(" ".join(words) + "\n")

    async def ask(
        self, method: str, path: str, *, expect: int, promise: tuple[str, ...] = (), **more: object
    ) -> httpx.Response:
        """Where the answer is not what it should be the client gives up, as real ones do."""
        if promise:
            self.note("asked", *promise)
        answer = await self.http.request(method, path, **more)  # type: ignore[arg-type]
        if answer.status_code != expect:
            raise Unanswered(answer.status_code, answer.text)
        if promise:
            self.note("acked", *promise)
        return answer

    async def blob(self, blob: Content) -> None:
        """In one POST."""
        path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={blob.digest}"
        await self.ask("POST", path, expect=201, content=blob.content, promise=("blob", blob.digest))

    async def chunked(self, blob: Content, chunk: int = 1_000_000) -> None:
        path = await self.begin()
        for start in range(0, len(blob.content), chunk):
            path = await self.chunk(path, blob, start, start + chunk)
        await self.finish(path, blob)

    async def begin(self) -> str:
        answer = await self.ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/", expect=202)
        return answer.headers["location"]

    async def chunk(self, path: str, blob: Content, start: int, end: int) -> str:
        piece = blob.content[start:end]
        headers = {"Content-Range": f"{start}-{start + len(piece) - 1}", "Content-Type": "application/octet-stream"}
        answer = await self.ask("PATCH", path, expect=202, content=piece, headers=headers)
        return answer.headers["location"]

    async def finish(self, path: str, blob: Content) -> None:
        await self.ask("PUT", f"{path}?digest={blob.digest}", expect=201, promise=("blob", blob.digest))

    async def manifest(self, reference: str, manifest: Content) -> None:
        kind = "manifest" if ":" in reference else "tag"
        await self.ask(
            "PUT",
            f"/v2/{REPOSITORY}/manifests/{reference}",
            expect=201,
            content=manifest.content,
            headers={"Content-Type": manifest.media_type},
            promise=(kind, reference, manifest.digest),
        )

    async def image(self, tag: str, content: Image | Index) -> None:
        for blob in content.blobs:
            await self.blob(blob)
        for manifest in content.manifests:
            await self.manifest(tag if manifest is content.manifest else manifest.digest, manifest)

    async def delete(self, what: str) -> None:
        await self.ask("DELETE", f"/v2/{REPOSITORY}/{what}", expect=202, promise=("gone", what))


class QueueClient(Client):
    """Also asks for the queue, as the command does."""

    def __init__(self, url: str, log: Path, queue: Callable[[], list[dict[str, str]]]) -> None:
        super().__init__(url, log)
        self.queue = queue


class Unanswered(Exception):
    """Another answer than was hoped for: status and body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


async def prepare(client: Client) -> None:
    """What is there before: an image under two tags, all blobs of an index, an upload that was begun and one that is half done."""
    await client.image("v1", OLD)
    await client.manifest("stays", OLD.manifest)
    await client.image("other", OTHER)
    for blob in (*MULTI.blobs, NEW.config, NEW.layers[0]):
        await client.blob(blob)
    for name in ("to cancel", "to go on with"):
        path = await client.begin()
        path = await client.chunk(path, PARTED.layers[0], 0, 1_200_000)
        client.note("session", json.dumps({"name": name, "path": path}))


async def push(client: Client) -> None:
    """A layer in chunks (the others are there), then a tag that named something else."""
    await client.chunked(NEW.layers[1], 30_000)
    await client.manifest("v1", NEW.manifest)


async def push_index(client: Client) -> None:
    """A platform by digest, its index under a new tag, then a tag that moves to it."""
    for manifest in MULTI.manifests[:-1]:
        await client.manifest(manifest.digest, manifest)
    await client.manifest("multi", MULTI.manifest)
    await client.manifest("v1", MULTI.manifest)


async def delete(client: Client) -> None:
    await client.delete("manifests/v1")
    await client.delete(f"manifests/{OTHER.manifest.digest}")
    await client.delete(f"blobs/{OTHER.layers[0].digest}")


async def delete_again(client: Client) -> None:
    """Whoever was told that a deletion failed asks again; what was deleted by the first one is not there then."""
    for what in ("manifests/v1", f"manifests/{OTHER.manifest.digest}", f"blobs/{OTHER.layers[0].digest}"):
        try:
            await client.delete(what)
        except Unanswered as unanswered:
            if unanswered.status != 404:
                raise
            client.note("acked", "gone", what)


async def resume(client: Client) -> None:
    """One upload of an earlier run goes on, the other is cancelled."""
    paths = session_paths(client.log)
    layer = PARTED.layers[0]
    await client.ask("DELETE", paths["to cancel"], expect=204, promise=("cancelled", paths["to cancel"]))
    path = await client.chunk(paths["to go on with"], layer, 1_200_000, 2_000_000)
    path = await client.chunk(path, layer, 2_000_000, len(layer.content))
    await client.finish(path, layer)


async def start(client: Client) -> None:
    """Nothing more than that: the fault comes while the yard starts on what a killed one left."""


def session_paths(log: Path) -> dict[str, str]:
    lines = [line.removeprefix("session ") for line in log.read_text().splitlines() if line.startswith("session ")]
    return {document["name"]: document["path"] for document in map(json.loads, lines)}


WAYS: dict[str, Callable[[Client], Awaitable[None]]] = {
    "push": push,
    "push_index": push_index,
    "delete": delete,
    "resume": resume,
    "start": start,
}
