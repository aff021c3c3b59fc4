"""Other settings for a yard that runs: what is wrong with them changes nothing, and ends nothing."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.waiting import until_async
from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import load_settings
from yarddesk.settings.model import Settings

SETTINGS = "server: {host: 127.0.0.1, port: 0}\nupstreams: []\n"


class FaultySource(SettingsSource):
    """Fails as no reader of settings should where the file speaks of a fault."""

    async def load(self) -> Settings:
        if "fault" in self.file.read_text(encoding="utf-8"):
            raise RuntimeError("a fault of ours")
        return await super().load()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    umask = os.umask(0o077)
    try:
        file, options = tmp_path / "config.yaml", {"data_dir": str(tmp_path / "data")}
        file.write_text(SETTINGS, encoding="utf-8")
        settings = load_settings({}, file=file, options=options).settings
        async with open_yard(settings, FaultySource(file, options, {})) as yard:
            yield yard
    finally:
        os.umask(umask)


@pytest.mark.parametrize("host", ["ｅxample", "xn--a.example"])
async def test_an_address_that_only_who_would_connect_finds_wrong_is_refused_with_all_else(
    yard: Yard, host: str
) -> None:
    text = f"cache: {{max_size: 5GB}}\nupstreams:\n  - {{name: wide, registry: {host}}}\n"
    yard.settings_file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"config\.yaml: upstreams.*of wide: .* is not a registry's address"):
        await yard.reload()
    assert (yard.max_bytes, yard.upstreams()) == (20_000_000_000, ())
    assert "is not a registry's address" in yard.problems()[0].hint


async def test_a_fault_while_other_settings_are_read_ends_nothing(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard.settings_file.write_text(SETTINGS + "# fault\n", encoding="utf-8")
    await until_async(lambda: "could not be put in force" in caplog.text)
    yard.settings_file.write_text(SETTINGS + "cache: {max_size: 5GB}\n", encoding="utf-8")
    await until_async(lambda: yard.max_bytes == 5_000_000_000)
