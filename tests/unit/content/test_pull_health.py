"""How an upstream is, by what syncs and pulls last heard of it."""

from __future__ import annotations

import pytest

from yarddesk.content.pull_through import PullHealth

AWAY = PullHealth("away", "no answer")
TROUBLE = PullHealth("trouble", "status 500")
WAITS = PullHealth("waits", "too many")


@pytest.mark.parametrize(
    ("pulls", "state", "seen"),
    [
        (PullHealth(), "unknown", ("unknown", "")),
        (PullHealth(answered=True), "unknown", ("ok", "")),
        (AWAY, "unknown", ("away", "no answer")),
        (TROUBLE, "unknown", ("trouble", "status 500")),
        (WAITS, "unknown", ("ok", "")),
        (PullHealth(answered=True), "needs_you", ("needs_you", "")),
        (PullHealth(answered=True), "away", ("away", "")),
        (AWAY, "ok", ("away", "no answer")),
        (AWAY, "needs_you", ("needs_you", "")),
        (TROUBLE, "ok", ("ok", "")),
    ],
)
def test_what_pulls_hear_tells_of_an_upstream_where_syncs_know_nothing_newer(
    pulls: PullHealth, state: str, seen: tuple[str, str]
) -> None:
    assert pulls.beside(state, "") == seen
