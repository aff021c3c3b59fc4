"""Which fault can happen at which step of a sync, and what has to come of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.peers.faults import (
    CutAnswer,
    CutHead,
    CutRequest,
    Drip,
    Fault,
    FlippedByte,
    ForeignLocation,
    LostAnswer,
    NetworkGone,
    Portal,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncated,
    WrongDigest,
)
from tests.peers.steps import Step


class Ends(Enum):
    """While the fault lasts: the image arrives all the same, waits for another try, or waits for a person."""

    ARRIVES = "arrives"
    WAITS = "waits"
    NEEDS_YOU = "needs you"


ARRIVES, WAITS, NEEDS_YOU = Ends.ARRIVES, Ends.WAITS, Ends.NEEDS_YOU

STEPS = (
    Step.TAG_HEAD,
    Step.MANIFEST_HEAD,
    Step.BLOB_HEAD,
    Step.BLOB_PROBE,
    Step.MOUNT,
    Step.START,
    Step.PATCH,
    Step.CLOSE,
    Step.PUT_BLOB,
    Step.MANIFEST_PUT,
    Step.TAG_PUT,
    Step.READ_BACK,
)
ANSWERED = (Step.TAG_GET, Step.MANIFEST_GET, Step.BLOB_GET, Step.CANCEL)
"""What is only asked where something else was answered in a certain way."""

HEADS = frozenset({Step.TAG_HEAD, Step.MANIFEST_HEAD, Step.BLOB_HEAD, Step.READ_BACK})
TOLD_BY = {
    Step.TAG_HEAD: Step.TAG_GET,
    Step.MANIFEST_HEAD: Step.MANIFEST_GET,
    Step.BLOB_HEAD: Step.BLOB_GET,
    Step.READ_BACK: Step.READ_BACK,
}
"""Where the words of a HEAD's refusal are asked for."""

WORDLESS = frozenset({401, 404, 405})
"""What a HEAD says with these is known without any, or asked by GET in any case."""

CHECKED = frozenset({Step.TAG_GET, Step.MANIFEST_GET})
"""Whose answers' bodies must have the digest that is known, or told."""

WITH_CONTENT = frozenset({Step.PATCH, Step.PUT_BLOB, Step.MANIFEST_PUT, Step.TAG_PUT})
UPLOADING = frozenset({Step.PATCH, Step.CLOSE, Step.PUT_BLOB})
FOLLOWED = frozenset({Step.START, Step.PATCH, Step.STATUS})
"""Whose answers say where it goes on."""

LOOKED_AT = frozenset(
    {
        Step.TAG_HEAD,
        Step.TAG_GET,
        Step.MOUNT,
        Step.CLOSE,
        Step.PUT_BLOB,
        Step.MANIFEST_PUT,
        Step.TAG_PUT,
        Step.READ_BACK,
    }
)
"""Whose answers' digest is compared."""

HINTS = frozenset({Step.MANIFEST_HEAD, Step.BLOB_HEAD, Step.BLOB_PROBE, Step.MOUNT, Step.STATUS, Step.REFERRERS})
"""What only spares work: refused, the content is sent."""

SAID = "these are the registry's own words"

FAULTS: tuple[Fault, ...] = (
    Reset(),
    Reset(orderly=True),
    CutRequest(40),
    LostAnswer(),
    CutHead(),
    CutAnswer(0),
    NetworkGone(),
    Stall("request", 40),
    Stall("answer"),
    Stall("head"),
    Stall("body"),
    Drip(),
    Truncated("matching"),
    Truncated("missing"),
    FlippedByte(0, of="request"),
    FlippedByte(0, of="answer"),
    WrongDigest(),
    Redirect(),
    ForeignLocation(),
    Portal(),
    Status(401, said=SAID),
    Status(403, said=SAID),
    Status(404, said=SAID),
    Status(405, said=SAID),
    Status(413, said=SAID),
    Status(416, said=SAID),
    Status(429, said=SAID, retry_after="7"),
    Status(500, "plain", said=SAID),
    Status(502, "html"),
    Status(503, said=SAID, retry_after="11"),
    Status(504, "plain", said=SAID),
)


def impossible(step: Step, fault: Fault) -> str:
    """Why a fault can't be at a step, or says nothing there; empty where it can."""
    match fault:
        case CutRequest() | FlippedByte(of="request") | Stall("request") if step not in WITH_CONTENT:
            return "this request has no body"
        case CutAnswer() | Truncated() | Stall("body") if step not in (Step.BLOB_PROBE, Step.REFERRERS, *CHECKED):
            return "this answer's body is empty, or nobody reads it"
        case FlippedByte(of="answer") if step not in CHECKED:
            return "this answer's body is empty, or no digest is known of it"
    return ""


@dataclass(frozen=True)
class Case:
    step: Step
    fault: Fault

    @property
    def title(self) -> str:
        return f"{self.step.value.replace(' ', '-')}-{self.fault.title}"

    @property
    def ends(self) -> frozenset[Ends]:
        """What may come of it. More than one where both are right: resuming may overcome it, or trying later may."""
        return frozenset(_ends(self.step, self.fault))


CASES = [Case(step, fault) for step in STEPS for fault in FAULTS if not impossible(step, fault)]


def _ends(step: Step, fault: Fault) -> set[Ends]:
    if step is Step.BLOB_GET:
        return {NEEDS_YOU}  # what the HEAD was told stands, and all that is asked for is words
    if step is Step.CANCEL:
        # Nothing depends on it; but where the network goes with it, that is away for all else.
        return {ARRIVES, WAITS} if isinstance(fault, NetworkGone) else {ARRIVES}
    match fault:
        case Status():
            return _of_status(step, fault.status)
        case Drip():
            return {ARRIVES}
        case CutAnswer() | Stall("body") if step is Step.REFERRERS:
            return {WAITS}
        case CutAnswer() | Truncated() | Stall("body") if step not in CHECKED:
            return {ARRIVES}  # a body that lacks is what the probe is there to find out: it's sent
        case ForeignLocation() if step not in FOLLOWED:
            return {ARRIVES}  # nobody goes there
        case WrongDigest() if step not in LOOKED_AT:
            return {ARRIVES}  # it isn't this answer that tells what is there
        case Redirect() | Portal() if step is Step.REFERRERS:
            return {ARRIVES}  # no list of referrers: they go where clients look that know of none
        case Portal() if step is Step.STATUS:
            return {ARRIVES}  # as a lost upload: it begins again
        case Redirect() if step in (Step.MANIFEST_HEAD, Step.BLOB_HEAD):
            return {ARRIVES}  # nothing was found where it was sent to
        case FlippedByte() if step in (Step.MANIFEST_PUT, Step.TAG_PUT):
            # No manifest any more, and the registry says so; or first that it's not the one that the digest names.
            return {NEEDS_YOU, WAITS} if step is Step.MANIFEST_PUT else {NEEDS_YOU}
        case WrongDigest() if step is Step.TAG_HEAD:
            return {ARRIVES}  # another image is there: this one takes its place
        case LostAnswer() | CutHead() if step in UPLOADING:
            return {ARRIVES, WAITS}
        case Reset() | CutRequest() | Stall() if step in UPLOADING:
            return {ARRIVES, WAITS}
    return {WAITS}


def _of_status(step: Step, status: int) -> set[Ends]:
    if step is Step.MOUNT and status < 429:
        return {ARRIVES}
    if step is Step.STATUS and status == 403:
        return {ARRIVES}  # another account may have begun that upload: it's begun again
    if status in (401, 403):
        return {ARRIVES} if step is Step.REFERRERS else {NEEDS_YOU}  # without what is about it
    if status == 429 or status >= 500:
        return {ARRIVES} if step in (Step.BLOB_PROBE, Step.REFERRERS) and status == 500 else {WAITS}
    if step in HINTS:
        return {ARRIVES}
    if status == 404:
        return {Step.TAG_HEAD: {ARRIVES}, Step.TAG_GET: {ARRIVES}, Step.START: {NEEDS_YOU}}.get(step, {WAITS})
    if step in (Step.PATCH, Step.PUT_BLOB) and status in (405, 416):
        return {ARRIVES}  # in another of the ways to send a blob
    if step is Step.PATCH:
        return {ARRIVES, NEEDS_YOU}
    if step is Step.TAG_HEAD and status == 405:
        return {ARRIVES}  # asked by GET
    return {NEEDS_YOU}
