"""What must hold of a yard after any fault, by what its client was promised before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.ways import MULTI, NEW, PARTED, REPOSITORY, Client, QueueClient, session_paths
from tests.support.images import OCI_INDEX, OCI_MANIFEST

ACCEPT = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Names = set[str | None]


@dataclass
class Promises:
    """Read from a client's log: what a tag may name (None: nothing), and what must be there or not."""

    tags: dict[str, Names] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, log: Path) -> Promises:
        promises = cls()
        for line in log.read_text().splitlines():
            verb, *words = line.split()
            if verb in ("asked", "acked"):
                getattr(promises, f"_{words[0]}")(verb == "acked", *words[1:])
        return promises

    def _blob(self, acked: bool, digest: str) -> None:
        self.gone.discard(f"blobs/{digest}")
        if acked:
            self.blobs.add(digest)

    def _manifest(self, acked: bool, reference: str, _: str) -> None:
        self.gone.discard(f"manifests/{reference}")
        if acked:
            self.manifests.add(reference)

    def _tag(self, acked: bool, tag: str, digest: str) -> None:
        self.gone.discard(f"manifests/{tag}")
        self.gone.discard(f"manifests/{digest}")
        self.tags[tag] = {digest} if acked else {*self.tags.get(tag, {None}), digest}

    def _gone(self, acked: bool, what: str) -> None:
        kind, _, reference = what.partition("/")
        for tag, names in self.tags.items() if kind == "manifests" else ():
            if reference in (tag, *names):
                names.add(None)
                if acked:
                    names.discard(reference)
                    if tag == reference:
                        names.intersection_update({None})
        self.blobs.discard(reference)
        self.manifests.discard(reference)
        if acked:
            self.gone.add(what)

    def _cancelled(self, acked: bool, path: str) -> None:
        if acked:
            self.cancelled.add(path)


async def check(client: QueueClient, data: Path, *, tidied: bool = True) -> None:
    """Every promise is kept, what is there is whole, the queue names what the tags name, nothing is left over.

    Not `tidied`: the disk let nothing be put right yet, so that what is left over and old in `pending/` waits for a start.
    """
    promises = Promises.read(client.log)
    for path in content_files(data):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, f"damaged: {path}"
    if tidied:
        check_left_over(data)
    named = {tag: await digest_of(client, tag) for tag in promises.tags}
    for tag, digest in named.items():
        assert digest in promises.tags[tag], f"{tag} is {digest}, and should be one of {promises.tags[tag]}"
    for digest in promises.manifests:
        assert await digest_of(client, digest) == digest
    for digest in promises.blobs:
        answer = await client.http.get(f"/v2/{REPOSITORY}/blobs/{digest}")
        assert answer.status_code == 200, f"{digest}: {answer.status_code}"
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
    for what in promises.gone:
        assert (await client.http.get(f"/v2/{REPOSITORY}/{what}")).status_code == 404, f"{what} is there again"
    queued = {job["reference"]: job["digest"] for job in client.queue()}
    await check_queue(client, promises, named, queued)
    if tidied:
        assert markers(data) == queued


async def check_queue(client: Client, promises: Promises, named: dict[str, str | None], queued: dict[str, str]) -> None:
    for tag, digest in named.items():  # promised or not: what a tag names is queued before it names it
        assert digest is None or queued.get(tag) == digest, f"{tag} is {digest}, and {queued.get(tag)} is queued"
    for digest in promises.manifests:
        assert digest in queued or MULTI.manifest.digest in queued.values(), f"{digest} is not queued"
    for reference, digest in queued.items():
        if ":" not in reference and named.get(reference) is not None:
            assert digest == named[reference], f"{reference} is {named[reference]}, and {digest} is queued"
        else:
            assert await digest_of(client, digest) == digest, f"{reference} is queued, and {digest} not here"
    for what in promises.gone:
        assert what.removeprefix("manifests/") not in queued, f"{what} is queued still"


async def check_uploads(client: Client) -> None:
    """What was not finished can be gone on with where the client was told that it is; what was cancelled can't."""
    promises, layer = Promises.read(client.log), PARTED.layers[0]
    for path in session_paths(client.log).values():
        answer = await client.http.get(path)
        if path in promises.cancelled or layer.digest in promises.blobs:
            assert answer.status_code == 404
            continue
        if answer.status_code == 404:  # it was to be cancelled, or finished, when the process died
            continue
        assert answer.status_code == 204
        have = int(answer.headers["range"].removeprefix("0-")) + 1
        assert 1_200_000 <= have <= len(layer.content)
        if have < len(layer.content):
            path = await client.chunk(path, layer, have, len(layer.content))
        await client.finish(path, layer)
        return


async def push_again(client: Client) -> None:
    """Whatever happened, the same push works now."""
    await client.image("v1", NEW)
    await client.image("multi", MULTI)


async def digest_of(client: Client, reference: str) -> str | None:
    answer = await client.http.get(f"/v2/{REPOSITORY}/manifests/{reference}", headers=ACCEPT)
    if answer.status_code == 404:
        return None
    assert answer.status_code == 200, f"{reference}: {answer.status_code} {answer.text}"
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    assert digest == answer.headers["docker-content-digest"]
    return digest


def markers(data: Path) -> dict[str, str]:
    """What is queued, as the files say."""
    documents = [json.loads(path.read_text()) for path in (data / "pending").rglob("*.json")]
    return {document["reference"]: document["digest"] for document in documents}


def check_left_over(data: Path) -> None:
    for path in (data / "uploads").iterdir():
        assert SESSION.fullmatch(path.name), f"left over: {path}"
    left = [path for path in data.rglob("*") if path.name.startswith(".") or path.name.startswith("temporary")]
    assert left == [], f"left over: {left}"


def content_files(data: Path) -> Iterator[Path]:
    for path in (*data.glob("blobs/sha256/*/*"), *data.glob("manifests/**/_sha256/*")):
        if path.suffix != ".type":
            yield path
