"""Where the log goes, and in which form."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import Settings

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


_STREAMS: Final = ("", "stderr", "stdout")
_REPEAT_SECONDS: Final = 60.0
_NO_DESCRIPTORS: Final = "socket.accept() out of system resource"
_TOO_MANY_FILES: Final = "too many files are open: connections wait until some are closed. Raise the limit (ulimit -n)."


def configure_logging(settings: Settings) -> None:
    """Set the process's log up anew. Raises SettingsError where its file can't be opened."""
    wanted = settings.logger
    handler = _handler(wanted.output, log_file(settings), settings.place("logger.output"))
    handler.setFormatter(_JsonFormatter() if wanted.encoding == "json" else _ConsoleFormatter(wanted.color))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    talker = logging.getLogger("asyncio")
    for filter_ in [one for one in talker.filters if isinstance(one, _OnceInAWhile)]:
        talker.removeFilter(filter_)
    talker.addFilter(_OnceInAWhile())
    _set_level(wanted.level)


def log_file(settings: Settings) -> Path | None:
    """The file that the log goes to, if it is one."""
    output = settings.logger.output
    return Path(output).expanduser() if output not in _STREAMS else None


def level_of(name: str) -> int:
    """logging's number for a level of the settings."""
    return _LEVELS[name]


def _set_level(level: str) -> None:
    logging.getLogger().setLevel(_LEVELS[level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[level]))


def _handler(output: str, file: Path | None, where: str) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stdout if output == "stdout" else sys.stderr)
    try:
        return logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise SettingsError(where, "logger.output", f"“{output}” can't be written: {error.strerror}") from error


class _OnceInAWhile(logging.Filter):
    """asyncio says each second, with a traceback, that no descriptor is left for the next connection: a minute will do."""

    def __init__(self) -> None:
        super().__init__()
        self._said = -_REPEAT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith(_NO_DESCRIPTORS):
            return True
        now = time.monotonic()
        if now - self._said < _REPEAT_SECONDS:
            return False
        self._said = now
        record.msg, record.args, record.exc_info = _TOO_MANY_FILES, (), None
        return True


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
