"""Many images in sums: the same as added up one by one, and quick where many are alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_upstreams import FakeUpstream
from tests.support.fake_yard import job, part, progress
from tests.support.images import build_image
from tests.unit.sync.yard import running, settle
from yarddesk.sync.snapshot import JobSnapshot, SyncSnapshot, UpstreamPart, add_up
from yarddesk.sync.states import JobState

STUCK = (JobState.BLOCKED, JobState.FAILED)
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
PARTS = st.builds(
    part,
    st.sampled_from(JobState),
    st.sampled_from(["one", "two", "three"]),
    progress=st.sampled_from([None, progress(3, 10), progress(7, 10)]),
    next_attempt=st.sampled_from([None, None, NOW]),
    needs_credentials=st.booleans(),
    size=st.sampled_from([None, 5, 100]),
)


@given(st.lists(st.lists(PARTS, max_size=3), max_size=4), st.lists(st.integers(0, 3), max_size=12))
def test_sums_are_those_of_each_image_whichever_share_their_parts(
    lots: list[list[UpstreamPart]], which: list[int]
) -> None:
    shared = [tuple(parts) for parts in lots]
    jobs = [job(f"a/b:{n}", *shared[at]) for n, at in enumerate(which) if at < len(shared)]
    jobs += [job("a/b:own", *parts) for parts in lots]
    jobs = [replace(each, parts=shared[0]) if each.parts == shared[0] else each for each in jobs]
    tally = add_up(jobs)
    parts = [each for job_ in jobs for each in job_.parts]
    assert tally.counts == Counter(each.state for each in parts)
    assert tally.bytes_left == sum(each.bytes_left for each in parts if not each.state.is_over)
    assert list(tally.active) == [each for each in jobs if any(one.state.is_active for one in each.parts)]
    assert tally.stuck == sum(any(one.state in STUCK for one in each.parts) for each in jobs)
    asking = [each.registry for each in parts if each.state in STUCK and each.needs_credentials]
    assert sorted(tally.asking) == sorted(set(asking))
    assert tally.awaited == {each.registry for each in parts if each.state is JobState.WAITING}
    assert tally.is_timed == any(each.next_attempt is not None for each in parts)


def test_a_snapshot_is_added_up_once() -> None:
    snapshot = SyncSnapshot(1, False, None, (job("a:1", part(JobState.QUEUED)),), (), ())
    assert snapshot.tally is snapshot.tally
    other = replace(snapshot, jobs=())
    assert other.counts == {}
    assert snapshot.counts == {JobState.QUEUED: 1}
    assert snapshot == replace(other, jobs=snapshot.jobs)


async def test_only_images_that_changed_are_looked_at_anew_and_those_that_wait_alike_share_their_parts(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        for number in range(6):
            await yard.push(build_image("a"), f"v{number}")
        await settle()

        def jobs() -> dict[str, JobSnapshot]:
            return {job.id: job for job in yard.service.snapshot().jobs}

        before = jobs()
        assert len({id(job.parts) for job in before.values()}) == 1
        await yard.service.move_up("team/app:v4")
        after = jobs()
        assert next(iter(after)) == "team/app:v4"
        assert [name for name in before if before[name] is not after[name]] == ["team/app:v4"]
        await yard.service.pause("team/app:v2")
        assert [name for name in before if after[name] is not jobs()[name]] == ["team/app:v2"]
        await yard.service.resume()
        assert not any(after[name] is each for name, each in jobs().items()), "a pause's end concerns all"
