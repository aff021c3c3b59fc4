"""Where the log goes, and in which form."""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import LoggerSettings

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "critical": logging.CRITICAL,
}
_COLOURS: Final = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
# These log every request with its URL, in which a registry may have put a token.
_TALKATIVE: Final = ("httpx", "httpcore", "hpack", "asyncio", "watchfiles", "uvicorn", "qasync")


def configure_logging(settings: LoggerSettings) -> None:
    """Set the process's log up anew. Raises SettingsError where its file can't be opened."""
    handler = _handler(settings.output)
    handler.setFormatter(_JsonFormatter() if settings.encoding == "json" else _ConsoleFormatter(settings.color))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    set_level(settings.level)


def set_level(level: str) -> None:
    """The level alone; applied while running."""
    logging.getLogger().setLevel(_LEVELS[level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[level]))


def _handler(output: str) -> logging.Handler:
    if output in ("", "stderr"):
        return logging.StreamHandler(sys.stderr)
    if output == "stdout":
        return logging.StreamHandler(sys.stdout)
    try:
        return logging.FileHandler(Path(output).expanduser(), encoding="utf-8")
    except OSError as error:
        raise SettingsError("", "logger.output", f"“{output}” can't be written: {error.strerror}") from error


class _ConsoleFormatter(logging.Formatter):
    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = _COLOURS.get(record.levelno) if self._colour else None
        return f"{colour}{line}\x1b[0m" if colour else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
