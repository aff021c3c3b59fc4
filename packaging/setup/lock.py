"""Write requirements.lock anew: the versions that pip picks today for all that pyproject.toml asks for.

Made in a fresh environment of its own, so that what happens to be installed in .venv has no say.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from environment import LOCK, PROFILES, ROOT

HEADER = """\
# The exact versions that `make run` and `make test` install, as constraints of pip.
# Written by `make lock`; not by hand.
"""


def main() -> int:
    with (ROOT / "pyproject.toml").open("rb") as file:
        build = tomllib.load(file)["build-system"]["requires"]
    with tempfile.TemporaryDirectory(prefix="yarddesk-lock-") as folder:
        python = Path(folder) / "bin" / "python"
        run(sys.executable, "-m", "venv", folder)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run(*pip, "install", "--upgrade", "pip")
        # editables is what hatchling asks for once an editable install is being built.
        run(*pip, "install", *PROFILES["test"], *build, "editables")
        frozen = run(str(python), "-m", "pip", "list", "--format=freeze", "--exclude-editable")
    lines = sorted((line for line in frozen.splitlines() if not line.startswith("setuptools==")), key=str.lower)
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(lines)} packages")
    return 0


def run(*command: str) -> str:
    """Run a command in the checkout and give what it printed. Raises CalledProcessError."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
