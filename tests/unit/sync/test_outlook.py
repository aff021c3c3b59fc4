"""Images that wait for their turn are looked at ahead: what is there, what can be mounted and what must go is known and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_upstreams import AskedAtOnce, FakeUpstream
from tests.support.images import Content, Graph, Image, build_image, build_index, manifest_of
from tests.unit.sync.yard import REPOSITORY, Yard, running, settle
from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.events import PartPlanned
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.outlook import AHEAD, MOST_CONTENTS, REST_SECONDS
from yarddesk.sync.snapshot import SendPlan

OTHER = RepositoryName.parse("team/other")
ONE = SyncSettings(concurrency=1)
AT_ONCE = 9
"""So many images are tried at once where one transfer is."""


def size(*contents: Content) -> int:
    return sum(len(content.content) for content in contents)


def all_of(image: Graph) -> int:
    return size(*image.blobs, *image.manifests)


def questions(upstream: FakeUpstream, image: Graph) -> list[str]:
    """What was asked about what belongs to an image, but its tag."""
    belongs = {content.digest for content in (*image.blobs, *image.manifests)}
    return [f"{what} {of}" for what, _, of in upstream.log if of in belongs and what == "exists"]


@asynccontextmanager
async def busy(folder: Path, upstream: FakeUpstream | None = None, **options: Any) -> AsyncIterator[Yard]:
    """A yard all of whose tries are sending, and stand still until the upstream is released."""
    upstream = upstream or FakeUpstream()
    async with running(folder, upstreams=[upstream], sync=ONE, **options) as yard:
        await occupy(yard)
        yield yard
        upstream.release()
        await yard.until_empty()


async def occupy(yard: Yard) -> None:
    yard.upstream.held = asyncio.Event()
    for number in range(AT_ONCE):
        await yard.push(build_image(f"busy {number}"), f"busy-{number}")
    names = [f"team/app:busy-{number}" for number in range(AT_ONCE)]
    await yard.until(
        lambda: {str(yard.part(name).state) for name in names} == {"transferring"}, "there is room for no other"
    )


async def planned(yard: Yard, name: str = "team/app:v1") -> SendPlan:
    plan = await yard.until(lambda: yard.part(name).plan, "it's known what is to be sent")
    assert isinstance(plan, SendPlan)
    return plan


async def test_what_is_to_be_sent_is_known_before_an_image_has_its_turn(tmp_path: Path) -> None:
    image = build_image("a")
    async with busy(tmp_path) as yard:
        await yard.push(image)
        assert await planned(yard) == SendPlan(0, 0, all_of(image))
        part = yard.part()
        assert (part.state, part.tries, part.bytes_total, part.bytes_done) == ("queued", 0, all_of(image), 0)
        [event] = [event for event in yard.seen if isinstance(event, PartPlanned) and event.job_id == "team/app:v1"]
        assert (event.upstream, event.there, event.mountable, event.to_send) == ("corp", 0, 0, all_of(image))


async def test_what_is_there_and_what_can_be_mounted_is_told_apart(tmp_path: Path) -> None:
    here, elsewhere, new = build_image("here"), build_image("elsewhere"), build_image("new")
    layers = (here.layers[0], elsewhere.layers[0], new.layers[0])
    image = Image(manifest_of(new.config, layers), new.config, layers, new.platform)
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream], sync=ONE) as yard:
        await yard.push(here, "here")
        await yard.push(elsewhere, repository=OTHER)
        await yard.until_empty()
        await occupy(yard)
        await yard.push(image)
        to_send = size(new.config, new.layers[0], image.manifest)
        assert await planned(yard) == SendPlan(size(here.layers[0]), size(elsewhere.layers[0]), to_send)
        upstream.release()
        await yard.until_empty()
        done = next(entry for entry in yard.service.history() if entry.reference == "v1")
        assert done.bytes_sent == size(new.config, new.layers[0])


async def test_of_an_index_what_is_there_is_there_with_all_below_it(tmp_path: Path) -> None:
    index = build_index("many")
    async with running(tmp_path, sync=ONE) as yard:
        child = index.images[0]
        await yard.push(child, "child")
        await yard.until_empty()
        await occupy(yard)
        await yard.push(index)
        there = size(child.manifest, *child.blobs)
        assert await planned(yard) == SendPlan(there, 0, all_of(index) - there)
        yard.upstream.release()
        await yard.until_empty()


async def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    images = [build_image(f"{number}", [10] * 4) for number in range(5)]

    async def asked(folder: Path, concurrency: int) -> dict[str, int]:
        """By how many questions all of them arrive, where so many tries find room."""
        upstream = FakeUpstream(held=asyncio.Event())
        options = SyncSettings(concurrency=concurrency)
        folder.mkdir()
        async with running(folder, upstreams=[upstream], sync=options) as yard:
            for number in range(AT_ONCE):
                await yard.push(build_image(f"busy {number}"), f"busy-{number}")
            for number, image in enumerate(images):
                await yard.push(image, f"v{number}")
            for number in range(len(images)):
                await planned(yard, f"team/app:v{number}")
            waiting = {str(yard.part(f"team/app:v{number}").state) for number in range(len(images))}
            assert waiting == ({"queued"} if concurrency == 1 else {"transferring"})
            upstream.release()
            await yard.until_empty()
        return dict(upstream.asked)

    assert await asked(tmp_path / "ahead", 1) == await asked(tmp_path / "at once", len(images) + 1)


@pytest.mark.parametrize("target", [None, "corp"], ids=["all", "upstream"])
async def test_while_it_is_paused_the_size_is_known_and_nothing_is_asked(tmp_path: Path, target: str | None) -> None:
    image = build_image("a")
    async with running(tmp_path) as yard:
        await yard.push(build_image("before"), "before")
        await yard.until_empty()
        asked = yard.upstream.asked.total()
        await yard.service.pause(target)
        await yard.push(image)
        await yard.until(lambda: yard.part().bytes_total == all_of(image), "its size is known")
        await settle()
        assert yard.part().plan is None
        assert yard.service.snapshot().bytes_left == all_of(image)
        assert yard.upstream.asked.total() == asked
        await yard.service.resume()
        await yard.until_empty()


async def test_while_its_upstream_is_away_the_size_is_known_and_nothing_is_asked(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("first"), "first")
        await yard.until_state("waiting", "team/app:first")
        asked = yard.upstream.asked.total()
        await yard.push(image)
        await yard.until(lambda: yard.part().bytes_total == all_of(image), "its size is known")
        await settle()
        assert (yard.part().plan, yard.upstream.asked.total()) == (None, asked)


async def test_a_pause_ends_the_questions(tmp_path: Path) -> None:
    image = build_image("a", [10] * 50)
    async with busy(tmp_path) as yard:
        yard.upstream.stops["exists"] = asyncio.Event()
        await yard.push(image)
        await yard.until(lambda: len(questions(yard.upstream, image)) == 2, "its first layer is asked for")
        await yard.service.pause()
        yard.upstream.stops.pop("exists").set()
        await settle()
        assert len(questions(yard.upstream, image)) == 2
        await yard.service.resume()


async def test_it_asks_one_thing_at_a_time_and_only_the_first_in_line(tmp_path: Path) -> None:
    upstream = AskedAtOnce()
    images = [build_image(f"{number}", [10]) for number in range(AHEAD + 5)]
    async with busy(tmp_path, upstream) as yard:
        upstream.most_asking = 0
        for number, image in enumerate(images):
            await yard.push(image, f"v{number}")
        await planned(yard, f"team/app:v{AHEAD - 1}")
        await settle()
        assert upstream.most_asking == 1
        plans = [yard.part(f"team/app:v{number}").plan is not None for number in range(len(images))]
        assert plans == [True] * AHEAD + [False] * 5


async def test_the_questions_of_what_is_tried_come_first(tmp_path: Path) -> None:
    image, asks = build_image("a"), build_image("asks")
    async with busy(tmp_path) as yard:
        await yard.service.cancel("team/app:busy-0")
        yard.upstream.stops["exists"] = asyncio.Event()
        await yard.push(asks, "asks")
        await yard.until_state("preparing", "team/app:asks")
        await yard.push(image)
        await settle()
        assert not questions(yard.upstream, image)
        yard.upstream.stops.pop("exists").set()
        await planned(yard)


async def test_what_another_image_brought_there_meanwhile_need_not_be_sent(tmp_path: Path) -> None:
    shared = build_image("busy 3").layers[0]
    own = build_image("own", [10])
    image = Image(manifest_of(own.config, (shared,)), own.config, (shared,), own.platform)
    async with busy(tmp_path) as yard:
        await yard.push(image)
        assert await planned(yard) == SendPlan(0, 0, all_of(image))
        yard.upstream.stops["push_manifest"] = asyncio.Event()
        yard.upstream.release()
        there = SendPlan(size(shared), 0, size(own.config, image.manifest))
        await yard.until(lambda: yard.part().plan == there, "the layer is known to be there")
        assert yard.part().state == "queued"
        assert len(questions(yard.upstream, image)) <= 3 + 1, "the shared layer's two images ask for it"
        yard.upstream.stops["push_manifest"].set()


async def test_a_question_that_fails_is_nobodys_failure_and_is_not_repeated_at_once(tmp_path: Path) -> None:
    image = build_image("a")
    trouble = UpstreamTrouble("corp", "It has trouble.", temporary=True, status=503)
    async with busy(tmp_path) as yard:
        yard.upstream.fault = lambda what, of: trouble if what == "exists" else None
        await yard.push(image)
        await yard.until(lambda: questions(yard.upstream, image), "it's asked about")
        await settle()
        assert len(questions(yard.upstream, image)) == 1
        part = yard.part()
        assert (part.state, part.tries, part.reason, part.plan) == ("queued", 0, "", None)
        assert [health.state for health in yard.service.snapshot().upstreams] == ["ok"]
        yard.upstream.fault = None
        yard.clock.advance(REST_SECONDS + 1)
        await yard.push(build_image("other"), "other")
        await planned(yard)


async def test_an_answer_of_long_ago_is_asked_for_again_by_the_try(tmp_path: Path) -> None:
    image = build_image("a")
    async with busy(tmp_path) as yard:
        await yard.push(image)
        await planned(yard)
        once = sorted(questions(yard.upstream, image))
        yard.clock.advance(601)
        yard.upstream.release()
        await yard.until_empty()
        assert sorted(questions(yard.upstream, image)) == sorted(once * 2)


async def test_what_was_there_ahead_and_is_gone_when_it_is_needed_is_sent(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path, sync=ONE) as yard:
        await yard.push(image, "older")
        await yard.until_empty()
        await occupy(yard)
        yard.clock.advance(601)
        await yard.push(image, "newer")
        assert await planned(yard, "team/app:newer") == SendPlan(all_of(image), 0, 0)
        await yard.upstream.store.delete_manifest(REPOSITORY, Digest.parse(image.manifest.digest))
        yard.upstream.blobs[REPOSITORY] -= {Digest.parse(blob.digest) for blob in image.blobs}
        yard.upstream.release()
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "newer") == image.manifest.digest


async def test_what_was_last_seen_there_is_not_asked_about_ahead(tmp_path: Path) -> None:
    """Its try needs one question alone."""
    image = build_image("a")
    async with running(tmp_path, sync=ONE) as yard:
        await yard.push(image)
        await yard.until_empty()
        await occupy(yard)
        before = len(questions(yard.upstream, image))
        await yard.push(image)
        await yard.until(lambda: yard.part().bytes_total, "its size is known")
        await settle()
        assert len(questions(yard.upstream, image)) == before
        yard.upstream.release()
        await yard.until_empty()
        assert len(questions(yard.upstream, image)) == before


async def test_of_an_image_of_very_many_contents_the_size_alone_is_known(tmp_path: Path) -> None:
    image = build_image("many", [1] * MOST_CONTENTS)
    async with busy(tmp_path) as yard:
        await yard.push(image)
        await yard.until(lambda: yard.part().bytes_total == all_of(image), "its size is known")
        await settle()
        assert (yard.part().plan, questions(yard.upstream, image)) == (None, [])
        await yard.service.cancel("team/app:v1")
