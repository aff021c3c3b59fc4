"""What is stored: counted, listed, re-hashed, collected."""

import argparse
from typing import Any

from yarddesk.cli.output import print_json, size
from yarddesk.cli.works import perform


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "how much is stored"
    usage = commands.add_parser("usage", parents=[common], help=text, description=text)
    usage.add_argument("--json", action="store_true", help="for programs")
    usage.set_defaults(run=_usage)


def _usage(options: argparse.Namespace) -> int:
    result = perform(options, "usage")
    if options.json:
        print_json(result)
    else:
        print(f"stored  {size(result['used'])}")
    return 0
