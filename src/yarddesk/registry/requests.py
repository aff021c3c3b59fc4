"""Reading requests: query parameters, bodies, conditions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from yarddesk.oci.digest import Digest
from yarddesk.oci.error_codes import ErrorCode
from yarddesk.registry.wire import Refused

_MAX_LAST_CHARACTERS: Final = 512
_LOGGED_CHARACTERS: Final = 400
_UNCOUNTED_BYTES: Final = 16 * 1024  # so that a few slow large bodies never turn a usual one away
_CLOSE: Final = ((b"connection", b"close"),)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a listing: up to `limit` entries (None: all) after `last`."""

    limit: int | None
    last: str

    @property
    def wanted(self) -> int | None:
        """How many to ask the store for: one more tells whether another page follows; none still tells what exists."""
        return None if self.limit is None else self.limit + 1


def page_of(request: Request) -> Page:
    """The query's `n` and `last` (distribution specification v1.1, "Listing tags"). Raises Refused."""
    number, last = request.query_params.get("n"), request.query_params.get("last", "")
    if number is not None and not (number.isascii() and number.isdecimal()):
        raise Refused(ErrorCode.UNSUPPORTED, "“n” is a whole number, 0 at least.", status=400)
    # More digits than these are more entries than there can be.
    limit = None if number is None or len(number) > 9 else int(number)
    return Page(limit, last[:_MAX_LAST_CHARACTERS])


def described(scope: Scope) -> str:
    """Method and path for the log: as they came, without the query and without characters that a log could take for its own."""
    path: bytes = scope["raw_path"]
    return f"{scope['method']} {path[:_LOGGED_CHARACTERS].decode('ascii', 'backslashreplace')}"


async def pieces_of_body(request: Request) -> AsyncIterator[bytes]:
    """A request's body as it comes, and none of it once the next piece is asked for. Raises ClientDisconnect.

    Starlette's Request.stream keeps the last piece as long as the client lets it wait for the next: hundreds of clients
    that stop in the middle would have a megabyte each. Who goes through it lets go of each, too (`del`).
    """
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.pop("body", b"")


class Room:
    """Bytes of bodies that may be in memory at once, over all requests; what most have doesn't count."""

    def __init__(self, most: int) -> None:
        self._left = most

    async def read(self, request: Request, limit: int, message: str) -> bytes:
        """The whole body, `limit` bytes at most. Raises Refused: 413, where Content-Length tells before any of it is read, and
        503 where others take up the room."""
        length = content_length(request)
        received = bytearray()
        try:
            if length is None or length <= limit:
                async for piece in pieces_of_body(request):
                    counted = _counted(received)
                    received += piece
                    del piece  # it's counted no more once the next one is asked for
                    self._left -= _counted(received) - counted
                    if len(received) > limit:
                        break
                    if self._left < 0:
                        busy = "Too many large manifests are coming in at once."
                        raise Refused(ErrorCode.UNAVAILABLE, busy, headers=((b"retry-after", b"5"), *_CLOSE))
                else:
                    return bytes(received)
        finally:
            self._left += _counted(received)
        raise Refused(ErrorCode.SIZE_INVALID, message, status=413, headers=_CLOSE)


def _counted(received: bytearray) -> int:
    return max(0, len(received) - _UNCOUNTED_BYTES)


def content_length(request: Request) -> int | None:
    """What the request says its body has, in bytes; None for a chunked one. The server has checked that it's a number."""
    value = request.headers.get("content-length")
    return int(value) if value is not None else None


def names_etag(header: str | None, digest: Digest, *, strong: bool = False) -> bool:
    """Whether an If-Match, If-None-Match or If-Range lists the entity tag of `digest`, or any (RFC 9110, 13.1).

    `strong`: a weak tag (`W/"…"`) is none, as If-Match and If-Range compare (RFC 9110, 8.8.3.2).
    """
    if header is None:
        return False
    for candidate in header.split(","):
        tag = candidate.strip()
        if tag == "*" or (tag if strong else tag.removeprefix("W/")) == f'"{digest}"':
            return True
    return False


def check_if_match(request: Request, current: Digest) -> None:
    """Raises Refused (412) where an If-Match doesn't list what is there (RFC 9110, 13.1.1)."""
    if_match = request.headers.get("if-match")
    if if_match is not None and not names_etag(if_match, current, strong=True):
        raise Refused(ErrorCode.DENIED, f"It is {current} now.", status=412)


def check_conditions(request: Request, current: Digest | None, what: str) -> None:
    """Whether a write may go on, by its If-Match and If-None-Match (RFC 9110, 13.1): how clients update a referrers tag
    without losing another's update. Raises Refused (412)."""
    if_match, if_none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    unmet = if_match is not None and (current is None or not names_etag(if_match, current, strong=True))
    if unmet or (current is not None and names_etag(if_none_match, current)):
        raise Refused(ErrorCode.DENIED, f"{what} is {current or 'not there'} now.", status=412)


def is_conditional(request: Request) -> bool:
    """Whether `check_conditions` must be asked."""
    return "if-match" in request.headers or "if-none-match" in request.headers
