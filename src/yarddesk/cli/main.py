"""Which command, with which options."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from yarddesk import __version__
from yarddesk.cli import accounts, content, doctor, layouts, pin, pull, setup, starting, steering, upstreams
from yarddesk.cli.output import INTERRUPTED, complain
from yarddesk.errors import YarddeskError
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.schema import LEVELS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        complain(f"{message.removesuffix('.')}. `{self.prog} --help` lists the options.")
        sys.exit(2)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        assert isinstance(status, int)
        return status
    except SettingsError as error:
        complain(str(error))
        return 2
    except YarddeskError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    # SUPPRESS: given before the command's name or after it, and the later parser doesn't undo the earlier.
    common.add_argument(
        "-c", "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="the settings file"
    )
    common.add_argument("--data-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="the data folder")
    server = _Parser(add_help=False)
    server.add_argument("--host", metavar="HOST", default=argparse.SUPPRESS, help="address to listen on (localhost)")
    server.add_argument(
        "--port", metavar="PORT", default=argparse.SUPPRESS, help="port to listen on (5050); 0 is any free"
    )
    server.add_argument(
        "--log-level", metavar="LEVEL", choices=LEVELS, default=argparse.SUPPRESS, help="what is logged"
    )
    parser = _Parser(
        prog="yarddesk",
        description="A local OCI registry: pushes land at disk speed and sync in the background. "
        "Without a command: the desktop app.",
        parents=[common, server],
    )
    parser.add_argument("--version", action="version", version=f"yarddesk {__version__}")
    parser.add_argument("--minimized", action="store_true", help="start in the tray alone")
    parser.set_defaults(run=starting.desktop)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    serve = commands.add_parser(
        "serve",
        parents=[common, server],
        help="the registry and the sync worker without a window",
        description=starting.serve.__doc__,
    )
    serve.set_defaults(run=starting.serve)
    steering.add_commands(commands, common)
    upstreams.add_commands(commands, common)
    accounts.add_commands(commands, common)
    setup.add_commands(commands, common)
    content.add_commands(commands, common)
    layouts.add_commands(commands, common)
    pull.add_commands(commands, common)
    pin.add_commands(commands, common)
    doctor.add_commands(commands, common)
    return parser
