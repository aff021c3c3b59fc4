"""`yarddesk queue --follow`: what happens, a line each, until somebody has seen enough."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from yarddesk.cli.output import plain, size
from yarddesk.control.client import ControlClient

Document = dict[str, Any]


def follow(client: ControlClient, show_queue: Callable[[Document], None], *, as_json: bool) -> None:
    """The queue as it stands, then what happens. Ends by what its client raises, KeyboardInterrupt or BrokenPipeError alone."""
    last = client.get("events")["last"]  # before the queue is asked for, so that nothing is left out in between
    while True:
        queue = client.get("queue")
        if as_json:
            _print_line(queue)
        else:
            show_queue(queue)
            sys.stdout.flush()
        last = _follow_on(client, last, as_json=as_json)


def _follow_on(client: ControlClient, last: int, *, as_json: bool) -> int:
    """Until more happened than is told; from where to go on after another look at the whole."""
    while True:
        happened = client.get("events", since=last)
        last = happened["last"]
        if happened["missed"]:
            return last
        for event in happened["events"]:
            if as_json:
                _print_line(event)
            elif line := in_words(event):
                print(f"{_clock(event['at'])}  {plain(line)}", flush=True)


def in_words(event: Document) -> str:
    """What happened to what, on one line; empty for what another event says better."""
    words = _WORDS.get(event["type"])
    said = words(event) if words is not None else ""
    if not said:
        return ""
    about = [event.get(key) for key in ("job_id", "image", "repository", "upstream")]
    return "  ".join([*(str(text) for text in about if text), said])


def _state(event: Document) -> str:
    if event["new"] in ("done", "cancelled"):
        return ""  # PartEnded tells more
    return f"{event['new']}: {event['reason']}" if event["reason"] else event["new"]


def _plan(event: Document) -> str:
    told = (("there", "there"), ("mountable", "can be mounted"), ("to_send", "to send"))
    return ", ".join(f"{size(event[key])} {words}" for key, words in told if event[key]) or "all is there"


def _ended(event: Document) -> str:
    if event["outcome"] != "done":
        return f"{event['outcome']}: {event['reason']}" if event["reason"] else event["outcome"]
    replaced = f", replaced {event['replaced'][:19]}" if event["replaced"] else ""
    figures = f"{size(event['bytes_sent'])} sent, {size(event['bytes_saved'])} there"
    return f"synced{replaced}: {figures}, {event['seconds']:.1f} s"


def _removed(event: Document) -> str:
    return "goes on with the index that carries it" if event["outcome"] == "superseded" else ""


def _upstream(event: Document) -> str:
    said = _STATES.get(event["state"], str(event["state"]))
    return f"{said}: {event['reason']}" if event["reason"] else said


def _pause(event: Document) -> str:
    said = "paused" if event["paused"] else "goes on"
    return said if any(event[key] for key in ("job_id", "repository", "upstream")) else f"everything: {said}"


def _evicted(event: Document) -> str:
    named = ", ".join(event["tags"]) or event["digest"][:19]
    return f"{named} went here to make room, {size(event['size'])}; it can be pulled again"


def _hook(event: Document) -> str:
    again = "" if event["over"] else " It is tried again."
    return f"arrived, but the {event['what']} could not be told: {event['reason']}{again}"


_STATES: dict[str, str] = {
    "ok": "answers",
    "away": "is out of reach",
    "trouble": "is in trouble",
    "needs_you": "needs you",
    "unknown": "is to be asked anew",
}

_WORDS: dict[str, Callable[[Document], str]] = {
    "job_added": lambda _: "queued",
    "job_state_changed": _state,
    "job_moved": lambda _: "moved up",
    "job_removed": _removed,
    "part_planned": _plan,
    "part_ended": _ended,
    "pause_changed": _pause,
    "upstream_state_changed": _upstream,
    "hook_failed": _hook,
    "image_evicted": _evicted,
    "blobs_evicted": lambda event: f"blobs that nothing here names went to make room, {size(event['size'])}",
    "marker_set_aside": lambda event: f"{event['file']} in the queue's folder can't be used: {event['reason']}",
    "settings_changed": lambda _: "other settings are in force",
}


def _print_line(document: Document) -> None:
    print(json.dumps(document, ensure_ascii=True), flush=True)


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S")
