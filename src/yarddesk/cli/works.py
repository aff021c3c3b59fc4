"""Works on stored content: by the running instance, else by this process under the data folder's lock."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from yarddesk.cli.options import settings_of
from yarddesk.cli.output import size
from yarddesk.control.client import ControlClient
from yarddesk.control.instance import NoInstance
from yarddesk.control.works import Document
from yarddesk.errors import YarddeskError
from yarddesk.settings.model import Settings
from yarddesk.storage.lock import AlreadyRunning

_CHANGING_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.2
_REDRAW_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 10.0
_FIRST_LINE_SECONDS: Final = 2.0

Found = Callable[[Document], None]


def perform(options: argparse.Namespace, name: str, *, found: Found | None = None, **parameters: object) -> Document:
    """Have a work done, and give its result; `found` gets its items. Raises YarddeskError.

    The lock decides who does it: nobody can be asked where it is free, and where it isn't an instance is there, or is just
    coming or going.
    """
    settings = settings_of(options)
    shown = _Shown(found)
    patience = time.monotonic() + _CHANGING_SECONDS
    while True:
        try:
            return asyncio.run(_alone(settings, name, parameters, shown))
        except AlreadyRunning as held:
            try:
                with ControlClient(settings.data_dir, settings.server.certfile) as client:
                    return _by_instance(client, name, parameters, shown)
            except NoInstance:
                if time.monotonic() > patience:
                    raise held from None
            time.sleep(_AGAIN_SECONDS)
        finally:
            shown.end()


async def _alone(settings: Settings, name: str, parameters: Document, shown: "_Shown") -> Document:
    # All of a yard is loaded for it: what only asks a running one doesn't wait for that.
    from yarddesk.service.alone import open_alone

    async with open_alone(settings) as upkeep:
        return await upkeep.works[name](parameters, shown)


def _by_instance(client: ControlClient, name: str, parameters: Document, shown: "_Shown") -> Document:
    for line in client.work(name, **parameters):
        match line:
            case {"progress": figures}:
                shown.progress(**figures)
            case {"item": document}:
                shown.take(document)
            case {"result": result}:
                return dict(result)
            case {"error": {"title": title, "message": message, "hint": hint}}:
                raise YarddeskError(title, message, hint=hint)
    raise YarddeskError("yarddesk ended before this was done.")


class _Shown:
    """A Report to the person at the terminal: one line, drawn anew; where there is none, a line now and then."""

    def __init__(self, found: Found | None) -> None:
        self._found = found
        self._is_terminal = sys.stderr.isatty()
        self._drawn_at = time.monotonic() - (
            _REDRAW_SECONDS if self._is_terminal else _LINE_SECONDS - _FIRST_LINE_SECONDS
        )
        self._width = 0

    def progress(self, **figures: Any) -> None:  # noqa: ANN401 - JSON's types
        now = time.monotonic()
        if now - self._drawn_at < (_REDRAW_SECONDS if self._is_terminal else _LINE_SECONDS):
            return
        self._drawn_at = now
        text = in_words(figures)
        if self._is_terminal:
            print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    async def item(self, document: Document) -> None:
        self.take(document)

    def take(self, document: Document) -> None:
        if self._found is not None:
            self._found(document)

    def end(self) -> None:
        """Leave the terminal's line empty for what comes next."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def in_words(figures: Document) -> str:
    """How far a work is: `doing` says what, `bytes_` and `count_` figures how much (`…_done` of `…_total`)."""
    parts = [str(figures.get("doing") or "at work")]
    done, total = figures.get("bytes_done"), figures.get("bytes_total")
    if isinstance(done, int):
        parts.append(f"{size(done)} of {size(total)}" if isinstance(total, int) and total else size(done))
    done, total = figures.get("count_done"), figures.get("count_total")
    if isinstance(done, int):
        parts.append(f"{done:,} of {total:,}" if isinstance(total, int) and total else f"{done:,}")
    return ", ".join(parts)
