"""The settings that a command's options lead to."""

import argparse
import os
from pathlib import Path
from typing import Any

from yarddesk.cli.output import complain
from yarddesk.settings import values
from yarddesk.settings.loader import LoadedSettings, default_config_file, load_settings
from yarddesk.settings.model import Settings

_OPTIONS = {"data_dir": "data_dir", "host": "server.host", "port": "server.port", "log_level": "logger.level"}


def loaded_of(options: argparse.Namespace) -> LoadedSettings:
    """Load the settings. Raises SettingsError."""
    return load_settings(os.environ, file=config_option(options), options=overrides(options))


def settings_of(options: argparse.Namespace) -> Settings:
    """Load the settings, print their warnings. Raises SettingsError."""
    loaded = loaded_of(options)
    for warning in loaded.warnings:
        complain(warning)
    return loaded.settings


def overrides(options: argparse.Namespace) -> dict[str, object]:
    """The options that stand for keys of the settings."""
    given: dict[str, Any] = vars(options)
    return {key: str(given[option]) for option, key in _OPTIONS.items() if given.get(option) is not None}


def config_option(options: argparse.Namespace) -> Path | None:
    path: Path | None = getattr(options, "config", None)
    return path


def config_file_of(options: argparse.Namespace) -> Path:
    """The file that a command writes to."""
    return config_option(options) or default_config_file()


def duration(text: str) -> float:
    """An option's DURATION in seconds, as argparse asks for its types."""
    try:
        return values.duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
