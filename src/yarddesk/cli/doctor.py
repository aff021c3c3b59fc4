"""`yarddesk doctor`: what may be wrong here, and what to do about it."""

import argparse
import asyncio
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from yarddesk.cli.options import loaded_of
from yarddesk.cli.output import INTERRUPTED, complain, plain, print_json
from yarddesk.settings.loader import LoadedSettings

if TYPE_CHECKING:
    from yarddesk.service.doctor.finding import Finding

_WIDTH: Final = 110
_INDENT: Final = " " * 9
_TO_DO: Final = f"{_INDENT}-> "


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "check port, data folder, keychain, upstreams and engines, and say what to do about each finding"
    doctor = commands.add_parser("doctor", parents=[common], help=text, description=text)
    doctor.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="write all that helps to find a fault, without secrets, to a .tar.gz that is not there yet",
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    """1 where something is broken; warnings alone are 0."""
    loaded = loaded_of(options)
    if options.bundle is not None:
        from yarddesk.service.doctor.archive import refuse_taken

        refuse_taken(options.bundle)  # before anybody waits for the checks
    return asyncio.run(_until_interrupted(options, loaded))


async def _until_interrupted(options: argparse.Namespace, loaded: LoadedSettings) -> int:
    from yarddesk.service.leaving import leave_soon

    try:
        return await _examine(options, loaded)
    except asyncio.CancelledError:
        # Ctrl+C ends what it sees: programs that were asked, and hang, too.
        leave_soon(INTERRUPTED)
        raise


async def _examine(options: argparse.Namespace, loaded: LoadedSettings) -> int:
    # It asks every room, and loads them for it: no other command waits for that.
    from yarddesk.service.doctor.examination import examine
    from yarddesk.service.doctor.finding import is_broken, sums

    examination = await examine(loaded)
    # Said before the loop ends, which waits for whatever a name server or an engine has not answered yet.
    if options.json:
        print_json({"findings": [finding.document() for finding in examination.findings]})
    else:
        for finding in examination.findings:
            print(in_lines(finding))
        print(sums(examination.findings))
    print(end="", flush=True)  # which does well without a standard output, too
    if options.bundle is not None:
        from yarddesk.service.doctor.bundle import write_bundle
        from yarddesk.service.logs import log_file

        write_bundle(options.bundle, loaded, examination, "\n".join(map(in_lines, examination.findings)))
        log = "" if log_file(loaded.settings) else f" The log is not in it: it goes to {_stream(loaded)}."
        complain(
            f"{options.bundle} is written. It holds no passwords, but names of images, registries and folders: look "
            f"through it before you pass it on.{log}"
        )
    return 1 if is_broken(examination.findings) else 0


def _stream(loaded: LoadedSettings) -> str:
    return "standard output" if loaded.settings.logger.output == "stdout" else "standard error"


def in_lines(finding: "Finding") -> str:
    """Its mark is a word, which needs no colour; what to do is indented below."""
    mark = "BROKEN" if finding.state == "broken" else str(finding.state)
    about = " ".join(part for part in (finding.check, finding.subject) if part)
    lines = [f"{mark:<9}{plain(about)}: {plain(finding.message)}".replace("\n", " ")]
    if finding.hint:
        hint = textwrap.wrap(
            plain(finding.hint),
            _WIDTH,
            initial_indent=_TO_DO,
            subsequent_indent=" " * len(_TO_DO),
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += hint
    return "\n".join(lines)
