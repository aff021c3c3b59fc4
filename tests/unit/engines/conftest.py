"""A machine made of folders: no engine of the real one is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from yarddesk.engines import Ended, EngineEnvironment, RegistryAddress

ADDRESS = RegistryAddress.parse("localhost:5050")


@dataclass
class Machine:
    """An environment below one folder, with programs that are only there."""

    folder: Path
    environment: EngineEnvironment
    state_dir: Path

    def install(self, *programs: str) -> None:
        for program in programs:
            path = self.folder / "bin" / program
            path.parent.mkdir(exist_ok=True)
            path.write_text("#!/bin/false\n", encoding="utf-8")
            path.chmod(0o755)

    def change(self, **fields: object) -> EngineEnvironment:
        self.environment = replace(self.environment, **fields)  # type: ignore[arg-type]
        return self.environment

    def everything(self) -> dict[str, tuple[int, bytes | None]]:
        """All files and folders with mode and content."""
        paths = sorted(self.folder.rglob("*"))
        return {str(p): (p.lstat().st_mode, p.read_bytes() if p.is_file() else None) for p in paths}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "machine"
    for name in ("home", "etc", "run", "proc", "bin", "data"):
        (folder / name).mkdir(parents=True)
    environment = EngineEnvironment(
        home=folder / "home",
        etc=folder / "etc",
        run=folder / "run",
        proc=folder / "proc",
        environ={"PATH": str(folder / "bin")},
        user=0,
        execute=lambda command, environ, limit: Ended(0, "podman version 4.3.1\n", ""),
        system_folders=(),
    )
    return Machine(folder, environment, folder / "data/engines")
