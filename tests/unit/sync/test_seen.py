"""What tags were last seen to name at their registries, over restarts, bounded, and with a damaged file."""

from __future__ import annotations

import asyncio
import errno
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.sync.conflicts import OnConflict, decide, is_moved
from yarddesk.sync.marker import Conflict
from yarddesk.sync.seen import Seen, SeenTags

PLACE, V1 = "registry.corp/team/app", Tag.parse("v1")
DIGESTS = [Digest.of(str(number).encode()) for number in range(5)]
SOME = st.sampled_from([None, *DIGESTS])


async def reopened(path: Path, kept: int = 100) -> SeenTags:
    seen = SeenTags(path, kept)
    await seen.load()
    return seen


async def test_what_was_seen_and_what_is_being_sent_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "seen-tags.jsonl"
    seen = SeenTags(path)
    assert seen.get(PLACE, V1) is None
    seen.saw(PLACE, V1, DIGESTS[0])
    seen.sending(PLACE, V1, DIGESTS[1])
    seen.saw(PLACE, Tag.parse("v2"), None)
    await seen.write()
    again = await reopened(path)
    assert again.get(PLACE, V1) == Seen(DIGESTS[0], DIGESTS[1])
    assert again.get(PLACE, Tag.parse("v2")) == Seen(None)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    seen = SeenTags(tmp_path / "seen")
    seen.saw(PLACE, V1, DIGESTS[0])
    await seen.write()
    seen.saw(PLACE, V1, DIGESTS[0])
    await seen.write()
    assert (tmp_path / "seen").read_bytes().count(b"\n") == 1


async def test_lines_that_can_not_be_read_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "seen"
    seen = SeenTags(path)
    seen.saw(PLACE, V1, DIGESTS[0])
    await seen.write()
    path.write_bytes(b'[]\n{"place": 1}\n' + path.read_bytes() + b'{"place": "registry.corp/x", "ta')
    again = await reopened(path)
    assert again.get(PLACE, V1) == Seen(DIGESTS[0])
    assert "3 lines" in caplog.text
    again.saw(PLACE, Tag.parse("v2"), DIGESTS[1])
    await again.write()
    assert (await reopened(path)).get(PLACE, Tag.parse("v2")) == Seen(DIGESTS[1])


async def test_the_tags_that_were_heard_of_least_lately_are_forgotten(tmp_path: Path) -> None:
    seen = SeenTags(tmp_path / "seen", 3)
    tags = [Tag.parse(f"v{number}") for number in range(5)]
    for tag in tags:
        seen.saw(PLACE, tag, DIGESTS[0])
        seen.saw(PLACE, tags[0], DIGESTS[0])
    assert [tag for tag in tags if seen.get(PLACE, tag)] == [tags[0], tags[3], tags[4]]
    await seen.write()
    again = await reopened(tmp_path / "seen", 2)
    assert [tag for tag in tags if again.get(PLACE, tag)] == tags[3:]


async def test_the_file_is_written_anew_before_it_grows_for_ever(tmp_path: Path) -> None:
    seen = SeenTags(tmp_path / "seen", 10)
    for number in range(1100):
        seen.saw(PLACE, V1, DIGESTS[number % 2])
        await seen.write()
    assert (tmp_path / "seen").read_bytes().count(b"\n") <= 1010
    assert (await reopened(tmp_path / "seen")).get(PLACE, V1) == Seen(DIGESTS[1])


async def test_what_could_not_be_written_goes_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    seen = SeenTags(tmp_path / "seen")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("yarddesk.storage.line_file.append_lines", full)
        seen.saw(PLACE, V1, DIGESTS[0])
        await seen.write()
    assert "can't be written" in caplog.text
    seen.saw(PLACE, Tag.parse("v2"), DIGESTS[1])
    await seen.close()
    again = await reopened(tmp_path / "seen")
    assert again.get(PLACE, V1) == Seen(DIGESTS[0])
    assert again.get(PLACE, Tag.parse("v2")) == Seen(DIGESTS[1])


async def test_who_waits_for_a_write_may_be_cancelled_and_no_line_is_torn(tmp_path: Path) -> None:
    seen = SeenTags(tmp_path / "seen")
    for number in range(20):
        seen.saw(PLACE, Tag.parse(f"v{number}"), DIGESTS[0])
        write = asyncio.create_task(seen.write())
        await asyncio.sleep(0)
        write.cancel()
        await asyncio.wait([write])
    await seen.close()
    again = await reopened(tmp_path / "seen")
    assert all(again.get(PLACE, Tag.parse(f"v{number}")) for number in range(20))


@given(there=SOME, ours=st.sampled_from(DIGESTS), seen=st.none() | st.builds(Seen, SOME, SOME))
def test_only_what_neither_we_put_there_nor_saw_there_was_moved_by_somebody_else(
    there: Digest | None, ours: Digest, seen: Seen | None
) -> None:
    moved = is_moved(there, ours, seen)
    if moved:
        assert seen is not None
        assert there not in (None, ours, seen.digest, seen.sent)
    else:
        assert seen is None or there in (None, ours, seen.digest, seen.sent)


@given(
    policy=st.sampled_from(list(OnConflict)),
    there=st.sampled_from(DIGESTS),
    conflict=st.none() | st.builds(Conflict, st.sampled_from(DIGESTS), st.booleans()),
)
def test_a_persons_word_counts_for_one_digest_and_else_the_settings_do(
    policy: OnConflict, there: Digest, conflict: Conflict | None
) -> None:
    said = conflict is not None and conflict.overwrite and conflict.there == there
    assert decide(policy, conflict, there) is (OnConflict.OVERWRITE if said else policy)
