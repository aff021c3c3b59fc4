"""Bytes to a server and back, with no HTTP library in between that would tidy them up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from yarddesk.registry.server import EmbeddedServer


@dataclass
class Connection:
    """One connection to a server on this machine."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def to_the_end(self, seconds: float = 10) -> bytes:
        """All that comes until the server closes; a reset is an end too."""
        received = bytearray()
        async with asyncio.timeout(seconds):
            try:
                while piece := await self.reader.read(65536):
                    received += piece
            except ConnectionResetError:
                return bytes(received)
        return bytes(received)

    async def answer(self, seconds: float = 10) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer with Content-Length (of one to GET)."""
        async with asyncio.timeout(seconds):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status_line.split()[1]), headers, body

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return  # the server was first


async def connect(server: EmbeddedServer, address: str = "127.0.0.1", *, limit: int = 1 << 20) -> Connection:
    return Connection(*await asyncio.open_connection(address, server.port, limit=limit))


async def exchange(server: EmbeddedServer, request: bytes) -> bytes:
    """All that one connection answers to these bytes, until the server closes it."""
    connection = await connect(server)
    try:
        await connection.send(request)
        return await connection.to_the_end()
    finally:
        await connection.close()


async def status_of(server: EmbeddedServer, request: bytes) -> int:
    """The status of the first answer to these bytes; 0 where there is none."""
    answer = await exchange(server, request)
    return int(answer.split(maxsplit=2)[1]) if answer else 0
