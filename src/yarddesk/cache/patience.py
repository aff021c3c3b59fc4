"""How long those go on who wait for an upstream's answer: not to the end of their time, once others had none from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class GivenUp(Exception):
    """Nobody gets an answer; there was time left."""


class Patience:
    """Of all who wait for one upstream."""

    def __init__(self) -> None:
        self._limits: dict[asyncio.Timeout, float | None] = {}

    @asynccontextmanager
    async def waiting(self, limit: asyncio.Timeout) -> AsyncIterator[None]:
        """Within `limit`. Raises TimeoutError after it, GivenUp where `shorten` made it less."""
        own: float | None = None
        try:
            async with limit:
                own = self._limits[limit] = limit.when()
                try:
                    yield
                finally:
                    del self._limits[limit]
        except TimeoutError as error:
            if limit.expired() and limit.when() != own:
                raise GivenUp from error
            raise

    def shorten(self, seconds: float) -> None:
        """Whoever waits now does so no longer than this."""
        end = asyncio.get_running_loop().time() + seconds
        for limit in self._limits:
            if not limit.expired():
                when = limit.when()
                limit.reschedule(end if when is None else min(when, end))

    def restore(self) -> None:
        """They have all the time that they had at first."""
        for limit, own in self._limits.items():
            if not limit.expired():
                limit.reschedule(own)
