"""Where the settings came from, so that they can be read again when the file changes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yarddesk.settings.loader import default_config_file, load_settings
from yarddesk.settings.model import Settings


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The `--config` option, the options that stand for keys, and the environment."""

    config: Path | None
    overrides: Mapping[str, object]
    environ: Mapping[str, str]

    @property
    def file(self) -> Path:
        """The YAML file that is read and written, whether it's there or not."""
        return (self.config or default_config_file()).absolute()

    async def load(self) -> Settings:
        """Read everything again. Raises SettingsError, also where a file that was named is not there (any more)."""
        loaded = await asyncio.to_thread(load_settings, self.environ, file=self.config, options=self.overrides)
        return loaded.settings
