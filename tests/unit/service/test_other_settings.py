"""Other settings for a yard that runs: what is wrong with them changes nothing, and ends nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until_async
from tests.unit.service.real_yard import SETTINGS, real_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import Settings
from yarddesk.upstream.routes import UpstreamRoutes


class FaultySource(SettingsSource):
    """Fails as no reader of settings should where the file speaks of a fault."""

    async def load(self) -> Settings:
        if "fault" in self.file.read_text(encoding="utf-8"):
            raise RuntimeError("a fault of ours")
        return await super().load()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with real_yard(tmp_path, FaultySource) as yard:
        yield yard


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


async def test_settings_that_are_refused_after_all_leave_no_connections(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, closed = [], []
    begin, end = UpstreamRoutes.__init__, UpstreamRoutes.aclose

    def begun(self: UpstreamRoutes, *arguments: Any, **options: Any) -> None:
        made.append(self)
        begin(self, *arguments, **options)

    async def ended(self: UpstreamRoutes) -> None:
        closed.append(self)
        await end(self)

    monkeypatch.setattr(UpstreamRoutes, "__init__", begun)
    monkeypatch.setattr(UpstreamRoutes, "aclose", ended)
    text = f"upstreams: [{{registry: r.example}}]\nlogger: {{output: {tmp_path}}}\n"
    yard.settings_file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"logger\.output"):
        await yard.reload()
    assert yard.upstreams() == ()
    assert made
    await until_async(lambda: closed == made)
