"""Briefcase with the settings of briefcase.toml: `packaging/bundle.py create linux system`, and all else that
Briefcase's own command takes.

Briefcase reads one file, pyproject.toml, as the only source of a bundle's settings. Here the project's own facts come
from pyproject.toml and the bundle's from briefcase.toml; both are laid together in a file that lives for a moment.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from briefcase.cmdline import parse_cmdline
from briefcase.commands.base import BaseCommand
from briefcase.console import Console
from briefcase.exceptions import BriefcaseError, BriefcaseWarning, HelpText
from icons import draw_icons

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    console = Console()
    try:
        command, options = prepare(sys.argv[1:], console)
        draw_icons(ROOT / "resources" / "icons" / "yarddesk.svg", ROOT / "build" / "icons" / "yarddesk")
        command(**options)
    except (HelpText, BriefcaseWarning) as words:
        console.info(str(words))
        return int(words.error_code)
    except BriefcaseError as error:
        console.error(str(error))
        return int(error.error_code)
    finally:
        console.close()
    return 0


def prepare(arguments: list[str], console: Console) -> tuple[BaseCommand, dict[str, Any]]:
    """The command that Briefcase makes of these arguments, with the settings taken, and the options to call it with.

    Raises BriefcaseError when it does not take them.
    """
    command_class, rest = parse_cmdline(arguments, console=console)
    command = command_class(console=console, base_path=ROOT)
    options, overrides = command.parse_options(extra=rest)
    # It must lie in the project's folder, since Briefcase looks beside it for the licence.
    with tempfile.NamedTemporaryFile("wb", dir=ROOT, prefix=".briefcase-", suffix=".toml") as file:
        tomli_w.dump(settings(), file)
        file.flush()
        command.parse_config(Path(file.name), overrides=overrides)
    return command, options


def settings() -> dict[str, Any]:
    """All that Briefcase is told, in the form of a pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    with (ROOT / "briefcase.toml").open("rb") as file:
        bundle = tomllib.load(file)["tool"]["briefcase"]
    bundle["app"]["yarddesk"]["requires"] = project["optional-dependencies"]["desktop"]
    return {"project": project, "tool": {"briefcase": bundle}}


if __name__ == "__main__":
    raise SystemExit(main())
