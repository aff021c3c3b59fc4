"""Servers of asyncio that a test has in its own process, and their end."""

from __future__ import annotations

import asyncio

_TURNS = 5
"""From a connection's acceptance over its transport to the first step of the task that answers it, with some to spare."""


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server so that nobody is forgotten: after it, each connection that was accepted has come to its callback, or is in
    the middle of its TLS handshake and comes to it afterwards.

    asyncio forgets a connection that was accepted and has no transport yet when its server closes (it stays open, and nobody
    ever answers), and a callback that is cancelled before its first step can't close what it was given.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()
