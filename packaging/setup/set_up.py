"""Set up a checkout: `set_up.py run` to start yarddesk from it, `set_up.py test` to test it.

Whatever is there already is left alone, so that a second call costs a fraction of a second. It runs on the bare
Python of the system, before any package is installed. Ends with status 1, naming what is missing and how to get it.
"""

from __future__ import annotations

import argparse
import os
import sys

from debian import SetUpError, find_command, install
from environment import VENV, one_at_a_time, prepare_environment
from needs import TEST_TOOLS
from qt import missing_for_qt


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up this checkout of yarddesk.")
    parser.add_argument("profile", choices=["run", "test"])
    profile = parser.parse_args().profile
    try:
        with one_at_a_time():
            prepare_environment(profile)
            prepare_system(profile)
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


def prepare_system(profile: str) -> None:
    """Install what is missing of the system's own. Raises SetUpError where that cannot be."""
    missing = missing_from_system(profile)
    if not missing:
        return
    known = {name: package for name, package in missing.items() if package}
    if known:
        install(known.values(), known)
    still = missing_from_system(profile)
    if still:
        names = ", ".join(f"{name} ({package or 'no Debian package known'})" for name, package in sorted(still.items()))
        raise SetUpError(f"still missing, and not to be had by apt-get: {names}")


def missing_from_system(profile: str) -> dict[str, str]:
    missing: dict[str, str] = {}
    if profile == "test":
        missing = {tool: package for tool, package in TEST_TOOLS.items() if not find_command(tool)}
    if profile == "test" or has_display():
        missing |= missing_for_qt(VENV)
    return missing


def has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    raise SystemExit(main())
