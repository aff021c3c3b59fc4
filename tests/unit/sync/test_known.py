"""What is known of an upstream: what was seen or asked for there lately, where a mount is worth a try, and where it isn't."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.support.clocks import HandClock
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Content, Image, build_image, manifest_of
from tests.unit.sync.yard import Yard, running
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.known import FRESH_SECONDS, REFUSED_SECONDS, KnownContent

HERE, OTHER, THIRD = (RepositoryName.parse(name) for name in ("team/app", "team/other", "team/third"))
BLOB = Digest.of(b"a blob")
BASE = build_image("base", [100] * 4)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def known(clock: HandClock) -> KnownContent:
    return KnownContent(clock.monotonic, kept=3)


def test_what_was_seen_or_missed_is_believed_for_a_while(known: KnownContent, clock: HandClock) -> None:
    assert known.says(BLOB, HERE) is None
    known.lacks(BLOB, HERE)
    assert known.says(BLOB, HERE) is False
    clock.advance(FRESH_SECONDS)
    assert known.says(BLOB, HERE) is None
    known.add(BLOB, HERE)
    assert (known.says(BLOB, HERE), known.says(BLOB, OTHER)) == (True, None)
    clock.advance(FRESH_SECONDS)
    assert known.says(BLOB, HERE) is None


def test_what_came_while_a_no_was_on_its_way_is_there(known: KnownContent) -> None:
    known.add(BLOB, HERE)
    known.lacks(BLOB, HERE)
    assert known.says(BLOB, HERE) is True


def test_what_came_after_a_no_is_there(known: KnownContent) -> None:
    known.lacks(BLOB, HERE)
    known.add(BLOB, HERE)
    assert known.says(BLOB, HERE) is True
    known.forget(BLOB, HERE)
    assert known.says(BLOB, HERE) is None


def test_what_came_after_a_no_is_not_taken_for_missing_when_that_is_forgotten(known: KnownContent) -> None:
    known.lacks(BLOB, HERE)
    known.add(BLOB, HERE)
    for number in range(4):
        known.add(BLOB, RepositoryName.parse(f"other/{number}"))
    assert known.says(BLOB, HERE) is None


def test_a_hint_is_good_for_mounts_alone_and_comes_last(known: KnownContent) -> None:
    known.hint(BLOB, OTHER)
    assert (known.says(BLOB, OTHER), known.elsewhere(BLOB, HERE)) == (None, [OTHER])
    known.add(BLOB, THIRD)
    assert known.elsewhere(BLOB, HERE) == [THIRD, OTHER]
    known.hint(BLOB, THIRD)
    assert known.says(BLOB, THIRD) is True


def test_hints_take_no_room_from_what_was_seen(known: KnownContent) -> None:
    seen = [Digest.of(bytes([number])) for number in range(3)]
    for digest in seen:
        known.add(digest, HERE)
    known.hint(BLOB, HERE)
    assert not known.elsewhere(BLOB, OTHER)
    assert all(known.says(digest, HERE) for digest in seen)


def test_memory_is_bounded(known: KnownContent) -> None:
    digests = [Digest.of(bytes([number])) for number in range(9)]
    for digest in digests:
        known.lacks(digest, HERE)
    assert [known.says(digest, HERE) for digest in digests] == [None] * 6 + [False] * 3
    for digest in digests:
        known.add(digest, HERE)
    assert [known.says(digest, HERE) for digest in digests] == [None] * 6 + [True] * 3


def test_refused_mounts_are_remembered_for_each_repository_and_for_an_hour(
    known: KnownContent, clock: HandClock
) -> None:
    known.add(BLOB, OTHER)
    known.add(BLOB, THIRD)
    for _ in range(3):
        assert known.elsewhere(BLOB, HERE) == [THIRD, OTHER]
        known.tried_to_mount(THIRD, False)
    assert known.elsewhere(BLOB, HERE) == [OTHER]
    clock.advance(REFUSED_SECONDS)
    assert known.elsewhere(BLOB, HERE) == [THIRD, OTHER]
    known.tried_to_mount(THIRD, False)
    assert known.may_mount_from(THIRD), "it counts anew"


def test_a_mount_that_works_forgives_those_before(known: KnownContent) -> None:
    for _ in range(5):
        known.tried_to_mount(OTHER, False)
        known.tried_to_mount(OTHER, False)
        known.tried_to_mount(OTHER, True)
    assert known.may_mount_from(OTHER)


def over_base(seed: str) -> Image:
    own = build_image(seed, [10])
    layers = (*BASE.layers, *own.layers)
    return Image(manifest_of(own.config, layers), own.config, layers, own.platform)


def asked(upstream: FakeUpstream, what: str, content: Content) -> int:
    return sum(asks == what and of == content.digest for asks, _, of in upstream.log)


async def test_after_a_restart_layers_are_mounted_from_where_they_were_synced_to(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(over_base("one"), repository=OTHER)
        await yard.until_empty()
        await yard.restart()
        await yard.push(over_base("two"))
        await yard.until_empty()
        assert [asked(yard.upstream, "push", layer) for layer in BASE.layers] == [1] * 4
        assert [asked(yard.upstream, "mount", layer) for layer in BASE.layers] == [1] * 4


async def test_what_arrived_is_asked_about_again_after_a_restart(tmp_path: Path) -> None:
    image = over_base("one")
    async with running(tmp_path) as yard:
        await yard.push(image)
        await yard.until_empty()
        await yard.restart()
        await yard.push(over_base("two"), "v2")
        await yard.until_empty()
        assert [asked(yard.upstream, "exists", layer) for layer in BASE.layers] == [2] * 4


async def test_a_hint_that_is_not_true_any_more_costs_a_mount(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(over_base("one"), repository=OTHER)
        await yard.until_empty()
        yard.upstream.blobs[OTHER].clear()
        await yard.restart()
        await yard.push(over_base("two"))
        await yard.until_empty()
        assert [asked(yard.upstream, "push", layer) for layer in BASE.layers] == [2] * 4


async def test_what_was_synced_and_deleted_here_gives_no_hint(tmp_path: Path) -> None:
    image = over_base("one")
    async with running(tmp_path) as yard:
        await yard.push(image, repository=OTHER)
        await yard.until_empty()
        await yard.store.delete_manifest(OTHER, Digest.parse(image.manifest.digest))
        await yard.restart()
        await yard.push(over_base("two"))
        await yard.until_empty()
        assert yard.upstream.asked["mount"] == 0


async def test_what_one_registry_has_is_no_hint_of_what_another_one_has_under_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(over_base("one"), repository=OTHER)
        await yard.until_empty()
        yard.upstreams[:] = [FakeUpstream(registry="another.corp")]
        await yard.restart()
        await yard.push(over_base("two"))
        await yard.until_empty()
        assert yard.upstream.asked["mount"] == 0


async def test_mounts_from_a_repository_that_refuses_them_are_left_after_some_and_others_go_on(tmp_path: Path) -> None:
    numbers = count()

    async def push_over(yard: Yard, base: Image) -> None:
        own = build_image(f"own {next(numbers)}", [10])
        layers = (*base.layers, *own.layers)
        await yard.push(Image(manifest_of(own.config, layers), own.config, layers, own.platform))
        await yard.until_empty()

    private, public = build_image("private", [50] * 8), build_image("public", [60] * 8)
    async with running(tmp_path) as yard:
        await yard.push(private, repository=OTHER)
        await yard.push(public, repository=THIRD)
        await yard.until_empty()
        yard.upstream.blobs[OTHER].clear()
        await push_over(yard, private)
        refused = yard.upstream.asked["mount"]
        assert 3 <= refused < 8, "those that were tried at once"
        await push_over(yard, public)
        assert yard.upstream.asked["mount"] == refused + 8
