"""The bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.storage.recent import Recent


def test_what_was_not_used_for_longest_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_what_alone_is_too_large_is_not_kept_and_takes_its_old_self_along() -> None:
    recent: Recent[str, int] = Recent(10)
    recent.put("a", 1, 5)
    recent.put("b", 2, 5)
    recent.put("a", 3, 11)
    assert (recent.get("a"), recent.get("b"), recent.cost) == (None, 2, 5)


@given(
    steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.sampled_from(["put", "get", "drop"])))
)
def test_the_cost_is_that_of_what_is_kept_and_never_above_the_limit(steps: list[tuple[str, int, str]]) -> None:
    recent: Recent[str, int] = Recent(10)
    kept: dict[str, int] = {}
    for key, cost, what in steps:
        if what == "put":
            recent.put(key, cost, cost)
            kept[key] = cost
        elif what == "drop":
            recent.drop(key)
            kept.pop(key, None)
        else:
            assert recent.get(key) in (None, kept.get(key))
        kept = {key: cost for key, cost in kept.items() if recent.get(key) is not None}
        assert recent.cost == sum(kept.values()) <= 10
        assert len(recent) == len(kept)
