"""An upstream that the window's form asks for, in a yard as the app runs it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.service.real_yard import SETTINGS, real_yard
from yarddesk.service.yard import Yard
from yarddesk.settings.errors import SettingsError


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with real_yard(tmp_path) as yard:
        yield yard


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
