"""What registries turned out to take, one lesson book for each place: kept over reloads of the settings and over restarts.

Kept are sizes, and ways to send that were refused, each for a week: no URL of an upload, no name of an image, nothing secret.
"""

import asyncio
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from yarddesk.content.clock import Clock, SystemClock
from yarddesk.content.threads import in_thread, in_thread_to_the_end
from yarddesk.upstream.profiles import Rung

_log = logging.getLogger(__name__)

LEARNED_FILE: Final = "upstreams.json"
REMEMBERED_SECONDS: Final = 7 * 24 * 3600.0
MOST_PLACES: Final = 1000
MOST_FILE_BYTES: Final = 1024 * 1024
_SCHEMA: Final = 1
_SAVE_SECONDS: Final = 5.0
_MOST_BYTES: Final = 2**62


@dataclass(slots=True)
class Lessons:
    """Of one place. `refused`: until when (seconds of the wall clock) a way isn't tried again. `piece_bytes`: how much to send in
    one request, 0 for any amount; `too_large_bytes`: a body of that size was refused, which counts until `too_large_until`.
    """

    refused: dict[Rung, float] = field(default_factory=dict)
    piece_bytes: int = 0
    too_large_bytes: int = 0
    too_large_until: float = 0.0
    changed: Callable[[], None] = lambda: None

    @property
    def is_empty(self) -> bool:
        return not (self.refused or self.piece_bytes or self.too_large_bytes)

    def document(self) -> dict[str, Any]:
        return {
            "refused": dict(self.refused),
            "piece_bytes": self.piece_bytes,
            "too_large_bytes": self.too_large_bytes,
            "too_large_until": self.too_large_until,
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any], latest: float) -> "Lessons":
        """`latest`: no time beyond it is believed, for the clock may have been wrong. Raises ValueError, KeyError, TypeError."""
        return cls(
            refused={Rung(name): _seconds(until, latest) for name, until in document["refused"].items()},
            piece_bytes=_size(document["piece_bytes"]),
            too_large_bytes=_size(document["too_large_bytes"]),
            too_large_until=_seconds(document["too_large_until"], latest),
        )


class Learned:
    """The lessons of all places. `read` gives what was written last (None: nothing) and `write` replaces it, both in a thread."""

    def __init__(
        self,
        read: Callable[[], bytes | None] = lambda: None,
        write: Callable[[bytes], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._read = read
        self._write = write
        self._clock = clock or SystemClock()
        self._places: dict[str, Lessons] = {}
        self._saving: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._unsaved = False

    def now(self) -> float:
        """Seconds of the wall clock."""
        return self._clock.now().timestamp()

    async def load(self) -> None:
        """What can't be read is dropped, with a line in the log: it is all learned again."""
        try:
            content = await in_thread(self._read)
            places = {} if content is None else self._parsed(content)
        except OSError as error:
            _log.warning(
                "what was learned of upstreams can't be read, and is learned again: %s", error.strerror or error
            )
            return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            _log.warning("what was learned of upstreams is damaged, and is learned again")
            return
        for place, lessons in places.items():
            if place not in self._places:
                lessons.changed = self._changed
                self._places[place] = lessons

    def of(self, place: str) -> Lessons:
        """The lessons of a place, which are changed in place."""
        lessons = self._places.get(place)
        if lessons is None:
            while len(self._places) >= MOST_PLACES:
                del self._places[next(iter(self._places))]
            lessons = self._places[place] = Lessons(changed=self._changed)
        return lessons

    async def aclose(self) -> None:
        """Write what isn't yet."""
        self._closing.set()
        if self._saving is not None:
            await self._saving
        if self._unsaved:
            await self._save()

    def _parsed(self, content: bytes) -> dict[str, Lessons]:
        document = json.loads(content)
        if document["schema"] != _SCHEMA:
            raise ValueError("another schema")
        latest = self.now() + REMEMBERED_SECONDS
        return {
            str(place): Lessons.parse(each, latest) for place, each in list(document["places"].items())[:MOST_PLACES]
        }

    def _changed(self) -> None:
        self._unsaved = True
        if self._write is not None and (self._saving is None or self._saving.done()) and not self._closing.is_set():
            self._saving = asyncio.get_running_loop().create_task(self._save_soon())

    async def _save_soon(self) -> None:
        # Several lessons come at once, and none is worth an fsync of its own.
        await self._clock.wait(self._closing, _SAVE_SECONDS)
        await self._save()

    async def _save(self) -> None:
        if self._write is None:
            return
        self._unsaved = False
        places = {place: lessons.document() for place, lessons in self._places.items() if not lessons.is_empty}
        content = json.dumps({"schema": _SCHEMA, "places": places}, indent=1).encode()
        try:
            await in_thread_to_the_end(self._write, content)
        except OSError as error:
            _log.warning("what was learned of upstreams can't be kept: %s", error.strerror or error)


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_BYTES:
        raise ValueError("no size")
    return value


def _seconds(value: object, latest: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise ValueError("no time")
    return min(float(value), latest)
