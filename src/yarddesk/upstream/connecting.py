"""Connecting to a host that has several addresses, of which some may lead nowhere ("happy eyeballs", RFC 8305).

asyncio has it, too (`happy_eyeballs_delay`), and loses a socket where the caller is cancelled as it wins.
"""

import asyncio
import itertools
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

_NEXT_SECONDS: Final = 0.25
_Address = tuple[int, int, int, object]
"""Family, type and protocol of a socket, and where it is to be connected."""


async def connected(host: str, port: int, options: Iterable[Any] = ()) -> socket.socket:
    """A socket, with these options, that is connected to one of the host's addresses, the first that answers.

    Raises OSError; UnicodeError for what can't be a host's name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = _by_turns([(family, kind, protocol, address) for family, kind, protocol, _, address in found])
    opened: list[socket.socket] = []
    try:
        first = await _race(addresses, opened)
        for option in options:
            first.setsockopt(*option)
        opened.remove(first)
        return first
    finally:
        for each in opened:
            each.close()


async def _race(addresses: Sequence[_Address], opened: list[socket.socket]) -> socket.socket:
    """The first of the addresses' sockets that is connected; all of them are in `opened`."""
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        for address, is_last in _with_last(addresses):
            attempts.add(asyncio.create_task(_attempt(address, opened)))
            while attempts:
                done, _ = await asyncio.wait(
                    attempts, timeout=None if is_last else _NEXT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    error = attempt.exception()
                    if error is None:
                        return attempt.result()
                    failure = failure or error
                attempts -= done
                if not is_last:
                    break
        raise failure or OSError("The name has no address.")
    finally:
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts)  # the loop forgets their sockets first, or it would take others for them


def _with_last(addresses: Sequence[_Address]) -> Iterator[tuple[_Address, bool]]:
    for number, address in enumerate(addresses, 1):
        yield address, number == len(addresses)


async def _attempt(address: _Address, opened: list[socket.socket]) -> socket.socket:
    family, kind, protocol, where = address
    attempt = socket.socket(family, kind, protocol)
    opened.append(attempt)
    attempt.setblocking(False)
    await asyncio.get_running_loop().sock_connect(attempt, where)  # type: ignore[arg-type]  # as getaddrinfo gave it
    return attempt


def _by_turns(addresses: Sequence[_Address]) -> list[_Address]:
    """The system's order, but for one of each family in turn: where one family leads nowhere, the next try is another."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = itertools.zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]
