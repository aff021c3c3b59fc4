"""An upstream that the window's form asks for, in a yard as the app runs it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import load_settings

SETTINGS = "server: {host: 127.0.0.1, port: 0}\nupstreams: []\n"


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    umask = os.umask(0o077)
    try:
        file, options = tmp_path / "config.yaml", {"data_dir": str(tmp_path / "data")}
        file.write_text(SETTINGS, encoding="utf-8")
        settings = load_settings({}, file=file, options=options).settings
        async with open_yard(settings, SettingsSource(file, options, {})) as yard:
            yield yard
    finally:
        os.umask(umask)


async def test_names_that_there_can_not_be_are_refused_with_what_to_write_instead_and_not_written(yard: Yard) -> None:
    for url, prefix, words in (
        ("https://GHCR.io", "GHCR.io", "“GHCR.io” can't stand before .*; write “ghcr.io”"),
        ("https://ghcr.io/Acme", "", "“Acme” can't stand before .*; write “acme”"),
        ("https://192.168.1.300:5000", "", "“https://192.168.1.300:5000” is not a registry's address"),
    ):
        with pytest.raises(SettingsError, match=f"^{words}$"):
            await yard.add_upstream(url, prefix=prefix)
    assert yard.settings_file.read_text(encoding="utf-8") == SETTINGS
    await yard.add_upstream("https://GHCR.io/acme", prefix=" tools/ ")
    assert [(each.name, each.prefix, each.registry, each.path) for each in yard.upstreams()] == [
        ("tools", "tools", "ghcr.io", "acme")
    ]
