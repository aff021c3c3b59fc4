"""What a part of the queue looks like after a fault: its state, its words, and until when it waits."""

from __future__ import annotations

import re

import pytest

from tests.integration.fault_table import HEADS, SAID, WORDLESS, Ends
from tests.integration.faulty import FaultyYard
from tests.peers.faults import CutHead, Fault, FlippedByte, LostAnswer, NetworkGone, Reset, Stall, Status
from tests.peers.steps import Step
from yarddesk.sync.snapshot import UpstreamPart
from yarddesk.sync.states import JobState
from yarddesk.upstream.http import Timeouts

BROKEN = re.compile(r"broke|refused the connection|gave no answer|could not be reached")


def limits_for(fault: Fault, seconds: float = 0.5) -> Timeouts | None:
    """Short ones for what a stall holds up, and for nothing else: this machine may be slow by itself."""
    if not isinstance(fault, Stall):
        return None
    if fault.where == "body":
        return Timeouts(stall_seconds=seconds)
    # A request that nobody takes waits for its answer in the end: the buffers on the way hold much of it.
    stall = seconds if fault.where == "request" else Timeouts().stall_seconds
    return Timeouts(connect_seconds=seconds, answer_seconds=seconds, commit_seconds=seconds, stall_seconds=stall)


def state_of(part: UpstreamPart | None) -> Ends:
    if part is None:
        return Ends.ARRIVES
    return Ends.NEEDS_YOU if part.state is JobState.BLOCKED else Ends.WAITS


def check_words(part: UpstreamPart, step: Step, fault: Fault) -> None:
    """The reason names the registry and says what it said, or what happened."""
    assert part.registry in part.reason or part.upstream in part.reason
    match fault:
        case Status(404) if step in (Step.READ_BACK, Step.MANIFEST_GET):
            assert "doesn't have it" in part.reason
        case Status() if step in HEADS and (fault.status in WORDLESS or fault.status >= 500):
            assert str(fault.status) in part.reason or fault.status == 401  # the answer to a HEAD has no words
        case Status(words="html"):
            assert "web page" in part.reason
            assert str(fault.status) in part.reason
        case Status():
            assert SAID in part.reason
        case Reset() | LostAnswer() | CutHead() | NetworkGone() | Stall():
            assert BROKEN.search(part.reason)
    refused = isinstance(fault, Status) and fault.status in (401, 403)
    assert part.needs_credentials == (refused or (step is Step.TOKEN and isinstance(fault, FlippedByte)))


def check_wait(yard: FaultyYard, part: UpstreamPart, fault: Fault) -> None:
    """What waits says until when; where the registry says when to come again, until then."""
    if part.state is JobState.BLOCKED:
        return
    assert part.next_attempt is not None
    seconds = (part.next_attempt - yard.clock.now()).total_seconds()
    if isinstance(fault, Status) and fault.retry_after:
        assert seconds == pytest.approx(int(fault.retry_after), abs=0.1)
    else:
        assert 0 < seconds <= 300
