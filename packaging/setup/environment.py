"""The virtual environment in .venv: filled from the lock, then left alone while nothing that it is made from changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debian import SetUpError, install, say

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PYTHON = VENV / "bin" / "python"

# What is installed for each purpose, as arguments of pip. The tests need all that running needs.
PROFILES = {
    "run": ["--editable", ".[desktop]"],
    "test": ["--editable", ".[desktop]", "--group", "dev"],
}


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two set-ups of one checkout wait for each other."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this checkout")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def prepare_environment(profile: str) -> None:
    """Bring .venv to what the profile needs; at once when it is there already. Raises SetUpError."""
    if is_ready(profile):
        return
    if not works(PYTHON, "-m", "pip", "--version"):
        make_environment()
    say(f"installing Python packages into {VENV.relative_to(ROOT)}")
    pip("install", "--upgrade", "pip")
    pip("install", "--build-constraint", str(LOCK), *PROFILES[profile])
    stamp = stamp_file(profile)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(fingerprint(), encoding="ascii")


def is_ready(profile: str) -> bool:
    wanted = fingerprint()
    serving = [name for name, needs in PROFILES.items() if set(PROFILES[profile]) <= set(needs)]
    return any(read(stamp_file(name)) == wanted for name in serving) and works(PYTHON, "-c", "")


def fingerprint() -> str:
    """A digest of all that the content of .venv follows from: dependencies, the lock, this program, and the place."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)
    tables = [project.get("build-system"), project.get("project"), project.get("dependency-groups")]
    tables.append(project.get("tool", {}).get("hatch"))
    parts = [str(ROOT), json.dumps(tables, sort_keys=True), read(LOCK), read(Path(__file__))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def stamp_file(profile: str) -> Path:
    return VENV / "set-up" / profile


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def works(program: Path, *arguments: str) -> bool:
    if not program.exists():
        return False
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def make_environment() -> None:
    """Make .venv anew with the Python that runs this. Raises SetUpError."""
    if not has_ensurepip():
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        install([package], ["Python's venv, which Debian splits off"])
    say(f"making {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]}")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        raise SetUpError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")


def has_ensurepip() -> bool:
    # In a process of its own: a module that was missing when this one started stays missing for it.
    return works(Path(sys.executable), "-c", "import ensurepip, venv")


def pip(*arguments: str) -> None:
    """Run pip within the lock. Raises SetUpError."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--constraint", str(LOCK)]
    command = [str(PYTHON), "-m", "pip", arguments[0], *options, *arguments[1:]]
    result = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if result.returncode != 0:
        raise SetUpError(f"pip ended with status {result.returncode}: {' '.join(command)}")
