"""Looking at and steering a running instance."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from yarddesk.cli.following import follow
from yarddesk.cli.options import duration, settings_of
from yarddesk.cli.output import complain, plural, print_json, print_table, size
from yarddesk.control.client import ControlClient
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference, Tag

_WAIT_TURN_SECONDS: Final = 20.0
_DECIDED: Final = {"overwrite": "Overwriting", "keep": "Kept theirs"}


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, parents=[common], help=text, description=text)
        parser.set_defaults(run=run)
        return parser

    for name, run, text in (
        ("status", _status, "how it stands"),
        ("queue", _queue, "what is on its way"),
        ("history", _history, "what was synced lately"),
    ):
        parser = add(name, run, text)
        parser.add_argument("--json", action="store_true", help="for programs")
        if name == "queue":
            parser.add_argument("--follow", action="store_true", help="go on telling what happens, a line each")
    pause = add("pause", _pause, "pause everything, an upstream or a repository")
    pause.add_argument("target", nargs="?", help="an upstream's name or a repository; without it everything")
    pause.add_argument(
        "--for", dest="duration", metavar="DURATION", type=_some_time, help="go on after, say, 30m or 2h"
    )
    resume = add("resume", _resume, "go on")
    resume.add_argument("target", nargs="?", help="an upstream's name or a repository; without it everything")
    for name, run, text in (
        ("retry", _retry, "try now what waits or failed"),
        ("cancel", _cancel, "take out of the queue"),
    ):
        parser = add(name, run, text)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("reference", nargs="?", metavar="REFERENCE", help="REPOSITORY[:TAG|@DIGEST]")
        which.add_argument("--all", action="store_true", help="all of them")
    first = add("first", _first, "sync it before all others")
    first.add_argument("reference", metavar="REFERENCE", help="REPOSITORY[:TAG|@DIGEST]")
    decide = add("decide", _decide, "say what becomes of a tag that somebody else moved upstream")
    decide.add_argument("reference", metavar="REFERENCE", help="REPOSITORY[:TAG]")
    choice = decide.add_mutually_exclusive_group(required=True)
    choice.add_argument("--overwrite", action="store_true", help="replace what is there")
    choice.add_argument("--keep", action="store_true", help="leave what is there, and don't sync this")
    choice.add_argument("--tag", metavar="OTHER", type=_tag, help="leave what is there, and sync this as OTHER")
    decide.add_argument("--upstream", metavar="NAME", help="at this upstream alone")
    wait = add("wait", _wait, "return once it, or all, is upstream")
    wait.add_argument("reference", nargs="?", metavar="REFERENCE", help="REPOSITORY[:TAG|@DIGEST]; without it all")
    wait.add_argument("--timeout", metavar="SECONDS", type=duration, help="give up after that long")


def _client(options: argparse.Namespace) -> ControlClient:
    settings = settings_of(options)
    return ControlClient(settings.data_dir, settings.server.certfile)


def _status(options: argparse.Namespace) -> int:
    with _client(options) as client:
        status = client.get("status")
    if options.json:
        print_json(status)
        return 0
    jobs = ", ".join(f"{count} {state}" for state, count in status["jobs"].items()) or "nothing waits"
    print(f"yarddesk {status['version']} at {status['url']}: {status['state'].replace('_', ' ')}")
    print(f"queue      {jobs}, {size(status['bytes_left'])} left")
    bound = f" of {size(status['cache']['max'])}" if status["cache"]["max"] else ""
    print(f"cache      {size(status['cache']['used'])}{bound}, {size(status['cache']['stored'])} stored in all")
    for paused in status["paused_repositories"]:
        until = f" until {paused['until']}" if paused["until"] else ""
        print(f"paused     {paused['repository']}{until}")
    for marker in status["set_aside"]:
        print(f"set aside  {marker['file']} in the queue's folder can't be used: {marker['reason']}")
    for upstream in status["upstreams"]:
        reason = f": {upstream['reason']}" if upstream["reason"] else ""
        paused = ", paused" if upstream["paused"] else ""
        print(
            f"upstream   {upstream['name']} ({upstream['registry']}) {upstream['state'].replace('_', ' ')}{paused}{reason}"
        )
        pulls = upstream["pulls"]
        if pulls["state"] != "ok" and pulls["reason"] != upstream["reason"]:
            print(f"           pulls don't ask it: {pulls['reason']}")
        if pulls["quota"]:
            quota = pulls["quota"]
            print(
                f"           {quota['remaining']} of {quota['limit']} pulls left in {quota['window_seconds'] // 60} min"
            )
    return 0


def _queue(options: argparse.Namespace) -> int:
    with _client(options) as client:
        if options.follow:
            follow(client, _show_queue, as_json=options.json)
        queue = client.get("queue")
    if options.json:
        print_json(queue)
    else:
        _show_queue(queue)
    return 0


def _show_queue(queue: dict[str, Any]) -> None:
    rows = [
        (
            _shown(job),
            part["name"],
            part["state"],
            f"{size(part['bytes_done'])} of {size(part['bytes_total'])}" if part["bytes_total"] is not None else "",
            size(part["bytes_to_send"]) if part["bytes_to_send"] is not None else "",
            str(part["tries"]),
            part["reason"],
        )
        for job in queue["jobs"]
        for part in job["upstreams"]
    ]
    print_table(("IMAGE", "UPSTREAM", "STATE", "DONE", "TO SEND", "TRIES", "REASON"), rows, "Nothing is waiting.")


def _history(options: argparse.Namespace) -> int:
    with _client(options) as client:
        history = client.get("history")
    if options.json:
        print_json(history)
        return 0
    rows = [
        (
            entry["at"],
            _shown(entry),
            entry["upstream"],
            f"{entry['hook']} failed" if entry["hook"] else entry["outcome"],
            entry["replaced"][:19] if entry.get("replaced") else "",
            "" if entry["hook"] else f"{size(entry['bytes_sent'])} sent, {size(entry['bytes_saved'])} there",
            "" if entry["hook"] else f"{entry['seconds']:.1f} s",
            " ".join(text for text in (entry["reason"], _failed_before(entry)) if text),
        )
        for entry in history["entries"]
    ]
    print_table(
        ("WHEN", "IMAGE", "UPSTREAM", "OUTCOME", "REPLACED", "BYTES", "TOOK", "REASON"), rows, "Nothing was synced yet."
    )
    return 0


def _failed_before(entry: dict[str, Any]) -> str:
    return f"A try before failed: {entry['error']}" if entry.get("error") else ""


def _pause(options: argparse.Namespace) -> int:
    with _client(options) as client:
        count = client.post("pause", target=options.target, for_seconds=options.duration)["count"]
    return _report_pause(options.target, count, "Paused")


def _resume(options: argparse.Namespace) -> int:
    with _client(options) as client:
        answer = client.post("resume", target=options.target)
    status = _report_pause(options.target, answer["count"], "Resumed")
    _report_kept_back(answer)
    return status


def _retry(options: argparse.Namespace) -> int:
    return _act(options, "retry", "Trying now")


def _cancel(options: argparse.Namespace) -> int:
    return _act(options, "cancel", "Cancelled")


def _first(options: argparse.Namespace) -> int:
    return _act(options, "first", "Going first")


def _decide(options: argparse.Namespace) -> int:
    _check_reference(options.reference)
    choice = "tag" if options.tag else "keep" if options.keep else "overwrite"
    with _client(options) as client:
        answer = client.post(
            "decide", target=options.reference, choice=choice, tag=options.tag, upstream=options.upstream
        )
    if not answer["count"]:
        where = f" at {options.upstream}" if options.upstream else ""
        complain(f"Nothing of “{options.reference}” waits for a decision{where}.")
        return 1
    word = f"Syncing as {options.tag}" if options.tag else _DECIDED[choice]
    status = _report(options.reference, answer["count"], word)
    _report_kept_back(answer)
    return status


def _act(options: argparse.Namespace, action: str, word: str) -> int:
    if options.reference:
        _check_reference(options.reference)
    with _client(options) as client:
        answer = client.post(action, target=options.reference)
    status = _report(options.reference, answer["count"], word)
    _report_kept_back(answer)
    return status


def _wait(options: argparse.Namespace) -> int:
    if options.reference:
        _check_reference(options.reference)
    deadline = time.monotonic() + options.timeout if options.timeout is not None else None
    with _client(options) as client:
        while True:
            turn = _WAIT_TURN_SECONDS
            if deadline is not None:
                turn = min(turn, max(0.0, deadline - time.monotonic()))
            outcome = client.post("wait", target=options.reference, seconds=turn)
            if outcome["state"] == "done":
                return 0
            if outcome["state"] == "failed":
                complain(outcome["reason"])
                return 1
            if deadline is not None and time.monotonic() >= deadline:
                complain(f"{options.reference or 'The queue'} is not upstream after {options.timeout:g} s.")
                return 1


def _report_pause(target: str | None, count: int, word: str) -> int:
    if not target or not count:
        return _report(target, count, word)
    print(f"{word}: {target}.")
    return 0


def _report(target: str | None, count: int, word: str) -> int:
    if target and not count:
        complain(f"Nothing matches “{target}”. `yarddesk queue` lists what is on its way.")
        return 1
    print(f"{word}: {plural(count, 'image')}." if count or target else f"{word}; nothing is waiting.")
    return 0


def _report_kept_back(answer: dict[str, Any]) -> None:
    if kept_back := answer.get("kept_back"):
        complain(kept_back)


def _check_reference(text: str) -> None:
    try:
        ImageReference.parse(text)
    except YarddeskError as error:
        complain(str(error))
        sys.exit(2)


def _shown(entry: dict[str, Any]) -> str:
    reference = entry["reference"]
    return f"{entry['repository']}@{reference[:19]}…" if ":" in reference else f"{entry['repository']}:{reference}"


def _tag(text: str) -> Tag:
    try:
        return Tag.parse(text)
    except YarddeskError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _some_time(text: str) -> float:
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("a pause needs some time, such as 30m")
    return seconds
