"""A Docker credential helper: a program `docker-credential-NAME` that hands out what it was given, and counts who asks."""

from __future__ import annotations

import json
import re
from pathlib import Path

SCRIPT = """\
#!/bin/sh
read -r address
printf '%s %s\\n' "$1" "$address" >> {folder}/asked
answer={folder}/answers/$(printf %s "$address" | tr -c 'A-Za-z0-9.' _)
if [ "$1" = get ] && [ -f "$answer" ]; then exec cat "$answer"; fi
echo "credentials not found in native keychain"
exit 1
"""


class CredentialHelper:
    """name: as it stands in `credHelpers`. `folder`/bin is what a PATH needs."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.name = name
        self.bin = folder / "bin"
        self._folder = folder
        self._answers = folder / "answers"
        for each in (self.bin, self._answers):
            each.mkdir(parents=True, exist_ok=True)
        program = self.bin / f"docker-credential-{name}"
        program.write_text(SCRIPT.format(folder=folder), encoding="ascii")
        program.chmod(0o755)

    def knows(self, registry: str, user: str, secret: str) -> None:
        """What it answers for a registry from now on; user `<token>`: the secret is an identity token."""
        document = {"ServerURL": registry, "Username": user, "Secret": secret}
        (self._answers / re.sub(r"[^A-Za-z0-9.]", "_", registry)).write_text(json.dumps(document), encoding="utf-8")

    @property
    def asked(self) -> list[str]:
        """`get HOST:PORT`, each time that somebody asked."""
        log = self._folder / "asked"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
