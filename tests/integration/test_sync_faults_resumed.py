"""The failures once more with yarddesk itself behind the proxy, which keeps what came of an upload: what broke is gone on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fault_table import FAULTS, Case, Ends, impossible
from tests.integration.fault_verdicts import check_wait, check_words, limits_for, state_of
from tests.integration.faulty import LARGE_BYTES, Door, FaultyYard, build_case, build_small, faulty_yard
from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import (
    CutHead,
    CutRequest,
    Fault,
    LostAnswer,
    NetworkGone,
    Reset,
    Stall,
)
from tests.peers.steps import Step
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import OCI_CONFIG, Content, Graph, manifest_of
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.upload_files import is_of
from yarddesk.sync.states import JobState

STEPS = (Step.PATCH, Step.STATUS, Step.CLOSE, Step.MANIFEST_PUT, Step.REFERRERS)
UPLOADS = (Step.PATCH, Step.STATUS, Step.CLOSE)
HALF = LARGE_BYTES // 2
BREAKS: tuple[Fault, ...] = (
    Reset(),
    Reset(orderly=True),
    CutRequest(HALF, orderly=True),
    CutRequest(LARGE_BYTES - 1, orderly=True),
    CutRequest(HALF),
    LostAnswer(),
    CutHead(),
    NetworkGone(),
    Stall("request", HALF),
    Stall("answer"),
    Stall("head"),
)


class Central(YarddeskProcess):
    """A registry of people's own, behind the proxy."""

    def stop(self) -> int:
        return self.terminate()

    def kept(self, digest: str) -> bytes | None:
        plain = digest.removeprefix("sha256:")
        places = [
            self.data_dir / "blobs/sha256" / plain[:2] / plain,
            *self.data_dir.glob(f"manifests/**/_sha256/{plain}"),
        ]
        return next((path.read_bytes() for path in places if path.exists()), None)

    def has_linked(self, repository: str, digest: str) -> bool:
        """Blobs are of all repositories."""
        return self.kept(digest) is not None

    def tagged(self, repository: str, tag: str) -> str:
        path = self.data_dir / "manifests" / repository / "_tags" / tag
        return path.read_text(encoding="ascii").strip() if path.exists() else ""

    def uploads_left(self, repository: str) -> list[str]:
        name = RepositoryName.parse(repository)
        return [path.name for path in self.data_dir.glob("uploads/*-*") if is_of(name, path.name)]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    central = Central(tmp_path_factory.mktemp("central"), config="upstreams: []\n")
    central.start()
    try:
        with FaultProxy(central.registry) as proxy:
            yield Door(central, proxy)
    finally:
        central.terminate()


CASES = [Case(step, fault) for step in STEPS for fault in FAULTS if not impossible(step, fault)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_a_fault_while_it_lasts_and_after_it(tmp_path: Path, door: Door, case: Case) -> None:
    repository = f"central/{case.title}"
    async with faulty_yard(tmp_path / "data", door.proxy.host, limits_for(case.fault)) as yard:
        image = build_case(repository) if case.step in UPLOADS else build_small(repository)
        signature = await signed(yard, repository, image) if case.step is Step.REFERRERS else None
        if case.step is Step.STATUS:
            door.proxy.inject(Step.PATCH, CutRequest(HALF, orderly=True))
        injection = door.proxy.inject(case.step, case.fault, times=float("inf"))
        await yard.push(image, repository)
        part = await yard.settled_by(injection)
        assert state_of(part) in case.ends, part
        if part is not None:
            check_words(part, case.step, case.fault)
            check_wait(yard, part, case.fault)
            # A tag names an image there only once all of it is there.
            assert not door.registry.tagged(repository, "v1")
        door.proxy.heal()
        give_up(door, case.fault)
        if state_of(part) is Ends.NEEDS_YOU:
            assert yard.outcomes() == []
            await yard.retry()
        await yard.arrived()
        assert door.holds(repository, "v1", image)
        assert await yard.holds(image, repository)
        [line] = yard.outcomes()
        assert line.outcome is JobState.DONE
        if signature is not None:
            assert (
                door.registry.kept(signature.digest) == signature.content or "Without what is about it" in line.reason
            )
    taken = Counter(
        each.path.rpartition("digest=")[2]
        for each in door.passed(repository, Step.CLOSE, Step.PUT_BLOB)
        if each.status == 201
    )
    denied = case.step is Step.MANIFEST_PUT
    assert max(taken.values(), default=0) <= (3 if denied else 1), taken
    assert [stray.headers for stray in door.proxy.strays if "authorization" in stray.headers] == []


def give_up(door: Door, fault: Fault) -> None:
    """What stands between gives up a connection through which nothing comes; the network is back."""
    if isinstance(fault, NetworkGone | Stall):
        door.proxy.go_away()
        door.proxy.come_back()


async def signed(yard: FaultyYard, repository: str, image: Graph) -> Content:
    """A signature of the image, that was here before anything is pushed: it goes along."""
    name = RepositoryName.parse(repository)
    note = Content(OCI_CONFIG, b"{}")
    signature = manifest_of(note, (), subject=image.manifest.descriptor)
    upload = await yard.store.start_upload(name)
    await upload.write(note.content)
    await upload.commit(Digest.parse(note.digest))
    await yard.store.put_manifest(name, parse_manifest(signature.content, signature.media_type))
    return signature


@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: f"{fault.title}-{getattr(fault, 'after', '')}")
async def test_an_upload_goes_on_where_it_broke(tmp_path: Path, door: Door, fault: Fault) -> None:
    """The worker's own patience included: at each break less than half of the layer goes out a second time."""
    repository = f"goes-on/{fault.title}-{getattr(fault, 'after', 0)}{getattr(fault, 'orderly', '')}".lower()
    async with faulty_yard(tmp_path / "data", door.proxy.host, limits_for(fault)) as yard:
        image = build_case(repository)
        injection = door.proxy.inject(Step.PATCH, fault)
        await yard.push(image, repository)
        await yard.settled_by(injection)
        give_up(door, fault)
        await yard.arrived()
        assert door.holds(repository, "v1", image)
    sent = sum(each.bytes_sent for each in door.passed(repository, Step.PATCH))
    assert sent < 1.5 * LARGE_BYTES
    if not isinstance(fault, Reset | NetworkGone):  # before anything of it came
        assert len(door.passed(repository, Step.START)) == len(image.blobs), "it's the same upload"
    # Where the network goes, it takes the answers with it that name the uploads of the image's other blobs: nobody can end those.
    unnamed = len(image.blobs) - 1 if isinstance(fault, NetworkGone) else 0
    assert len(door.registry.uploads_left(repository)) <= unnamed
