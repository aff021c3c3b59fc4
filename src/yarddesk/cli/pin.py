"""`yarddesk pin`: images that stay here, whatever room is needed."""

import argparse
from typing import Any

from yarddesk.cli.output import complain, print_json, print_table
from yarddesk.cli.works import perform


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "keep an image here, whatever room is needed"
    pin = commands.add_parser("pin", parents=[common], help=text, description=text)
    which = pin.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        help="REPOSITORY[:TAG|@DIGEST]; a tag pins what it names later, too",
    )
    which.add_argument("--list", action="store_true", help="what is pinned")
    pin.add_argument("--remove", action="store_true", help="don't keep it any more")
    pin.add_argument("--json", action="store_true", help="for programs")
    pin.set_defaults(run=_pin)


def _pin(options: argparse.Namespace) -> int:
    if options.list:
        return _list(options)
    result = perform(options, "pin", reference=options.reference, remove=options.remove)
    if options.json:
        print_json(result)
    else:
        print(f"{result['reference']} {'stays here' if result['pinned'] else 'is not pinned any more'}.")
    return 0


def _list(options: argparse.Namespace) -> int:
    if options.remove:
        complain("--remove needs a REFERENCE.")
        return 2
    result = perform(options, "pins")
    if options.json:
        print_json(result)
        return 0
    rows = [
        (each["reference"], (each["digest"] or "").partition(":")[2][:12] or ("" if each["here"] else "not here"))
        for each in result["pins"]
    ]
    print_table(("PINNED", "DIGEST"), rows, "Nothing is pinned.")
    return 0
