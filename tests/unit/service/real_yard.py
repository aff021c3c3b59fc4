"""A yard as the app runs it, without upstreams, for what happens to its settings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.loader import load_settings

SETTINGS = "server: {host: 127.0.0.1, port: 0}\nupstreams: []\n"


@asynccontextmanager
async def real_yard(folder: Path, source: type[SettingsSource] = SettingsSource) -> AsyncIterator[Yard]:
    """It follows `config.yaml` in this folder, which has SETTINGS at first."""
    umask = os.umask(0o077)
    try:
        file, options = folder / "config.yaml", {"data_dir": str(folder / "data")}
        file.write_text(SETTINGS, encoding="utf-8")
        settings = load_settings({}, file=file, options=options).settings
        async with open_yard(settings, source(file, options, {})) as yard:
            yield yard
    finally:
        os.umask(umask)
