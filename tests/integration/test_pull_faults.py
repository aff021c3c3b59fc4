"""Each failure of an upstream at each step of a pull, cold and with an older image here, with one upstream and with another after it.

What a client sees is read from its socket: an answer of as many bytes as it announced is complete, whatever any library makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.faulty import PASSWORD, USER
from tests.integration.pulling import REPOSITORY, Pulling, Seen, Upstreams, pulling
from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import (
    CutAnswer,
    CutHead,
    Drip,
    Fault,
    FlippedByte,
    LostAnswer,
    Portal,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncated,
    WrongDigest,
)
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.support.images import build_image

OLD, NEW, LARGE = (
    build_image(name, (size,)) for name, size in (("old", 300_000), ("new", 300_000), ("large", 3_000_000))
)
LAYER, LARGE_LAYER = NEW.layers[0], LARGE.layers[0]
SIZE = len(LAYER.content)
ALWAYS = float("inf")
WHOLE = Fault()

REFUSALS: list[Fault] = [
    Reset(),
    CutHead(),
    Portal(),
    Redirect(),
    Status(429, retry_after="30"),
    *(Status(status) for status in (401, 404, 500, 503)),
]
HEADS: list[Fault] = [*REFUSALS, Stall("answer"), WrongDigest()]
DOCUMENTS: list[Fault] = [
    *REFUSALS,
    LostAnswer(),
    CutAnswer(0),
    CutAnswer(200),
    Truncated("matching"),
    Truncated("missing"),
    FlippedByte(0),
    FlippedByte(300),
    WrongDigest(),
]
BLOBS: list[Fault] = [
    *REFUSALS,
    *(CutAnswer(after) for after in (0, SIZE // 2, SIZE - 1)),
    CutAnswer(SIZE // 2, orderly=True),
    Stall("answer"),
    Stall("body", SIZE // 2),
    *(FlippedByte(at) for at in (0, SIZE // 2, SIZE - 1)),
    Truncated("matching"),
    Truncated("missing"),
    Truncated("kept"),
    Drip(),
    *(Status(status) for status in (403, 502)),
]
HEALS: list[Fault] = [
    Reset(),
    LostAnswer(),
    CutHead(),
    *(CutAnswer(after) for after in (0, 1_000_000)),
    CutAnswer(1_000_000, orderly=True),
    Truncated("kept"),
    Stall("body", 1_000_000),
    Drip(),
]
"""Once, of a large blob: what came before is not asked for again."""


def called(fault: Fault) -> str:
    where = [str(value) for name in ("after", "at", "orderly") if (value := getattr(fault, name, ""))]
    return "-".join([fault.title, *where])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    registry = DockerRegistry(tmp_path_factory.mktemp("registry"), users={USER: PASSWORD})
    registry.start()
    try:
        registry.push(REPOSITORY, "large", LARGE)
        with FaultProxy(registry.host) as proxy, FaultProxy(registry.host) as behind:
            yield Upstreams(registry, proxy, behind)
    finally:
        registry.stop()


@pytest.fixture
def upstreams(running: Upstreams) -> Iterator[Upstreams]:
    running.put(NEW)
    running.proxy.passed.clear()
    running.proxy.strays.clear()
    try:
        yield running
    finally:
        running.proxy.heal()
        running.proxy.go_away()  # what hangs in it ends
        running.proxy.come_back()
    assert not [stray for stray in running.proxy.strays if "authorization" in stray.headers]


def check_failed(seen: Seen, fault: Fault) -> None:
    """An error in words, that names the upstream; 404 only where it said so."""
    assert seen.status >= 400
    assert "first" in seen.words
    assert seen.status != 404
    if isinstance(fault, Status):
        assert seen.status == {401: 403, 429: 429}.get(fault.status, 502)
    if seen.status == 429:
        assert 0 < int(seen.headers["retry-after"]) <= 30


def is_absence(fault: Fault) -> bool:
    return isinstance(fault, Status) and fault.status == 404


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", DOCUMENTS, ids=called)
async def test_a_tag_that_is_not_here(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.TAG_GET, fault, times=ALWAYS)
        seen = await pull.manifest()
        assert injection.hits
        if two:
            assert (seen.status, seen.body, seen.complete) == (200, NEW.manifest.content, True)
        elif is_absence(fault):
            assert seen.status == 404
        else:
            check_failed(seen, fault)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by()
        seen = await pull.manifest()
        assert (seen.body, seen.complete, "warning" in seen.headers) == (NEW.manifest.content, True, False)


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize(
    ("step", "fault"),
    [*((Step.TAG_HEAD, fault) for fault in HEADS), *((Step.TAG_GET, fault) for fault in DOCUMENTS)],
    ids=lambda part: part.replace(" ", "-") if isinstance(part, Step) else called(part),
)
async def test_a_tag_that_moved_since(
    tmp_path: Path, upstreams: Upstreams, fault: Fault, step: Step, two: bool
) -> None:
    upstreams.put(OLD)
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).body == OLD.manifest.content
        upstreams.put(NEW)
        await pull.time_goes_by()
        injection = upstreams.proxy.inject(step, fault, times=ALWAYS)
        seen = await pull.manifest()
        assert injection.hits
        assert seen.complete
        if seen.status == 200:
            stale = "warning" in seen.headers
            assert seen.body == (OLD if stale else NEW).manifest.content
            assert stale or two or isinstance(fault, WrongDigest)
        else:
            assert is_absence(fault)
            assert not two
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by()
        seen = await pull.manifest()
        assert (seen.body, "warning" in seen.headers) == (NEW.manifest.content, False)


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", DOCUMENTS, ids=called)
async def test_a_manifest_by_its_digest(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.MANIFEST_GET, fault, times=ALWAYS)
        head = await pull.manifest(method="HEAD")  # as containerd begins
        assert head.headers["docker-content-digest"] == NEW.manifest.digest
        seen = await pull.manifest(NEW.manifest.digest)
        assert injection.hits
        if two or isinstance(fault, WrongDigest):
            assert (seen.status, seen.body, seen.complete) == (200, NEW.manifest.content, True)
        elif is_absence(fault):
            assert seen.status == 404
        else:
            check_failed(seen, fault)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(30)
        assert (await pull.manifest(NEW.manifest.digest)).body == NEW.manifest.content


PARTS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", lambda whole: whole),
    ("Range: bytes=0-1023", lambda whole: whole[:1024]),
    ("Range: bytes=-1000", lambda whole: whole[-1000:]),
    ("Range: bytes=150000-", lambda whole: whole[150_000:]),
]


async def pull_parts(pull: Pulling, fault: Fault = WHOLE, *, must: bool) -> None:
    """Whatever is complete is right, or an error; where it must come, it comes at the second time: bytes that went out can't be
    called back."""
    for asked, part in PARTS[:2] if isinstance(fault, Stall) else PARTS:
        for tries in range(2 if must else 1):
            seen = await pull.blob(LAYER, *([asked] if asked else []))
            if seen.complete and seen.status in (200, 206):
                assert seen.body == part(LAYER.content)
                break
            assert not seen.complete or seen.status >= 400
            assert not must or not tries, f"it did not come: {seen.status} {seen.words}"


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", BLOBS, ids=called)
async def test_a_blob(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).status == 200
        injection = upstreams.proxy.inject(Step.BLOB_GET, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        assert injection.hits
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(700)
        await pull_parts(pull, must=True)
        await pull.is_clean()


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", BLOBS, ids=called)
async def test_a_blob_that_goes_on_after_a_break(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).status == 200
        first = upstreams.proxy.inject(Step.BLOB_GET, CutAnswer(SIZE // 2))
        then = upstreams.proxy.inject(Step.BLOB_GET, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        assert (first.hits, then.hits > 0) == (1, True)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(700)
        await pull_parts(pull, must=True)
        await pull.is_clean()


@pytest.mark.parametrize("fault", HEALS, ids=called)
async def test_a_blob_that_breaks_off_once_goes_on_where_it_was(
    tmp_path: Path, upstreams: Upstreams, fault: Fault
) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=False) as pull:
        assert (await pull.manifest("large")).status == 200
        injection = upstreams.proxy.inject(Step.BLOB_GET, fault)
        seen = await pull.blob(LARGE_LAYER)
        assert (seen.status, seen.complete, seen.body == LARGE_LAYER.content) == (200, True, True)
        assert injection.hits == 1
        received = sum(each.bytes_received for each in upstreams.proxy.of(Step.BLOB_GET))
        # No more than what was on its way when it broke comes twice.
        assert received < len(LARGE_LAYER.content) * 1.6
        await pull.is_clean()
        upstreams.proxy.go_away()
        assert (await pull.blob(LARGE_LAYER)).body == LARGE_LAYER.content


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", REFUSALS, ids=called)
async def test_the_size_of_a_blob_whose_manifest_was_not_seen(
    tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool
) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.BLOB_HEAD, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        head = await pull.get(f"blobs/{LAYER.digest}", method="HEAD")
        assert injection.hits
        assert head.headers["content-length"] == str(SIZE) if head.status == 200 else not two
        await pull.is_clean()
