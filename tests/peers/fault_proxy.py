"""A proxy of ours between a client and a registry that passes everything on as it is, until it is told to break something."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from tests.peers.faults import Cut, Fault, Reply, Stalled
from tests.peers.http_wire import HEAD_BYTES, PIECE_BYTES, Head, Pipe
from tests.peers.steps import Step, Steps
from tests.support.asyncio_servers import stop_listening
from tests.support.ports import LOOPBACK, hold_port

T = TypeVar("T")

FOREIGN = "127.0.0.2"
WAIT_SECONDS = 10.0
_NO_BODY = (204, 304)


@dataclass
class Passed:
    """A request that came through, and what became of it. status: 0 where no answer went back; bytes: of the two bodies."""

    step: Step
    method: str
    path: str
    had_authorization: bool
    fault: Fault | None = None
    status: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(eq=False)
class Injection:
    """A fault for the `at`-th of the requests of a step that come from now on, and for those after it up to `times`."""

    step: Step
    fault: Fault
    at: int = 1
    times: float = 1
    seen: int = 0
    hits: int = 0

    def takes(self, step: Step) -> bool:
        if step is not self.step:
            return False
        self.seen += 1
        if self.seen < self.at or self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True)
class Stray:
    """A request that reached the foreign host."""

    method: str
    path: str
    headers: dict[str, str] = field(hash=False)


class FaultProxy:
    """Listens on a loopback port of its own, in a thread of its own.

    target: HOST:PORT of the registry; token_target: of its token server, which then answers below /token here. Both may be
    set after the start. tls: the proxy speaks TLS with it; target_tls: and with the registry. `passed` holds every request;
    `strays` those that came to the foreign host at `canary`, where nothing is and where no credential may go.
    """

    def __init__(
        self,
        target: str = "",
        *,
        token_target: str = "",
        tls: ssl.SSLContext | None = None,
        target_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.target = target
        self.token_target = token_target
        self.passed: list[Passed] = []
        self.strays: list[Stray] = []
        self.host = f"{LOOPBACK}:{hold_port(self)}"
        self.canary = ""
        self.connections = 0
        self._tls = tls
        self._target_tls = target_tls
        self._injections: list[Injection] = []
        self._steps = Steps()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._server: asyncio.Server | None = None
        self._foreign: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def inject(self, step: Step, fault: Fault, *, at: int = 1, times: float = 1) -> Injection:
        """Break the `at`-th request of this step from now on, and the next ones up to `times`; the first that fits wins."""
        injection = Injection(step, fault, at, times)
        self._injections.append(injection)
        return injection

    def heal(self) -> None:
        """Nothing is broken from now on."""
        self._injections.clear()

    def go_away(self) -> None:
        """The listener closes and every connection is reset, as when the network goes; until `come_back`."""
        self._call(self._away())

    def come_back(self) -> None:
        """On the same port."""
        self._call(self._listen())

    def of(self, *steps: Step) -> list[Passed]:
        return [each for each in self.passed if each.step in steps]

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    async def _open(self) -> None:
        await self._listen()
        self._foreign = await asyncio.start_server(self._strayed, FOREIGN, 0, limit=HEAD_BYTES)
        self.canary = f"http://{FOREIGN}:{self._foreign.sockets[0].getsockname()[1]}"

    async def _listen(self) -> None:
        port = int(self.host.partition(":")[2])
        self._server = await asyncio.start_server(self._connected, LOOPBACK, port, ssl=self._tls, limit=HEAD_BYTES)

    async def _away(self) -> None:
        if self._server is not None:
            await stop_listening(self._server)
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _close(self) -> None:
        if self._foreign is not None:
            await stop_listening(self._foreign)
        await self._away()
        await asyncio.get_running_loop().shutdown_asyncgens()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._kept(Pipe(reader, writer)) as client:
            self.connections += 1
            connection = _Connection(self, client)
            try:
                while await connection.one():
                    pass
            finally:
                connection.end()

    async def _strayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._kept(Pipe(reader, writer)) as client:
            while True:
                head = await client.head()
                self.strays.append(Stray(head.method, head.path, head.headers))
                await client.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    @contextlib.asynccontextmanager
    async def _kept(self, client: Pipe) -> AsyncIterator[Pipe]:
        """A connection whose end, whoever ends it, is no error of the proxy's."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield client
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # one of the two sides went away
        except asyncio.CancelledError:
            _reset(client)
        finally:
            self._tasks.discard(task)
            client.writer.close()

    async def lose_network(self) -> None:
        """As `go_away`, for a fault that does it."""
        await self._away()

    def fault_for(self, step: Step) -> Fault | None:
        """Every injection counts, the first that is due is taken."""
        due = [each for each in self._injections if each.takes(step)]
        return due[0].fault if due else None

    def step_of(self, head: Head) -> Step:
        return self._steps.of(head.method, head.path, head.headers)

    def answered(self, passed: Passed) -> None:
        self._steps.answered(passed.step, passed.path, passed.status)

    async def connect(self, step: Step) -> Pipe:
        host, _, port = (self.token_target if step is Step.TOKEN and self.token_target else self.target).rpartition(":")
        return Pipe(*await asyncio.open_connection(host, int(port), ssl=self._target_tls, limit=HEAD_BYTES))

    @property
    def speaks_tls_alone(self) -> bool:
        return self._tls is not None and self._target_tls is None


class _Connection:
    """A client's connection, and the one to the registry that goes with it."""

    def __init__(self, proxy: FaultProxy, client: Pipe) -> None:
        self._proxy = proxy
        self._client = client
        self._target: Pipe | None = None
        self._may_send = False

    async def one(self) -> bool:
        """One request and its answer; whether the connection goes on."""
        self._may_send = False
        first = await self._client.reader.readexactly(1)
        if first == b"\x16":
            return False  # a TLS hello where plain HTTP is spoken
        head = await self._client.head(first)
        step = self._proxy.step_of(head)
        fault = self._proxy.fault_for(step)
        passed = Passed(step, head.method, head.path, "authorization" in head.headers, fault)
        self._proxy.passed.append(passed)
        try:
            return await self._exchange(head, passed, fault or Fault())
        except Cut as cut:
            if cut.network:
                await self._proxy.lose_network()
            await self._cut(cut)
            return False
        except Stalled as stalled:
            await self._client.write(stalled.last)
            await asyncio.Event().wait()
            return False

    def end(self) -> None:
        if self._target is not None:
            self._target.writer.transport.abort()
            self._target = None

    async def _exchange(self, head: Head, passed: Passed, fault: Fault) -> bool:
        reply = await fault.reply(head, self._proxy.canary)
        if reply is not None:
            return await self._replied(head, reply, passed)
        target = await self._connected(passed.step)
        if self._proxy.speaks_tls_alone:
            head.put("X-Forwarded-Proto", "https")
        await target.write(head.encode())
        sending = asyncio.create_task(self._send(target, head, passed, fault))
        try:
            answer = await self._answer_head(target, sending)
            passed.status = answer.status
            self._proxy.answered(passed)
            goes_on = await self._receive(target, head, answer, passed, fault)
            if self._waits_to_send(head):
                return False
            await sending
        finally:
            await _ended(sending)
        if not goes_on or "close" in answer.headers.get("connection", "").lower():
            return False
        return "close" not in head.headers.get("connection", "").lower()

    async def _connected(self, step: Step) -> Pipe:
        # The registry closes idle connections when it likes; one for each request costs nothing on loopback, and what the
        # client keeps alive is not touched by it.
        self.end()
        self._target = await self._proxy.connect(step)
        return self._target

    async def _send(self, target: Pipe, head: Head, passed: Passed, fault: Fault) -> None:
        pieces = fault.sent(_counted(self._client.body(head, until_end=False), passed, "bytes_sent"))
        lost = False
        async for piece in _framed(pieces, head.is_chunked):
            try:
                if not lost:
                    await target.write(piece)
            except ConnectionError:
                lost = True  # it has answered before the end, and wants no more: the client's rest goes nowhere

    async def _answer_head(self, target: Pipe, sending: asyncio.Task[None]) -> Head:
        """The final answer's head; what comes before it (100 Continue) is passed on."""
        while True:
            reading = asyncio.create_task(target.head())
            try:
                waiting = {reading, sending} if not sending.done() else {reading}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    await sending
                answer = await reading
            finally:
                await _ended(reading)
            if answer.status >= 200:
                return answer
            self._may_send = True
            await self._client.write(answer.encode())

    def _waits_to_send(self, head: Head) -> bool:
        """Whether the client keeps its body back until it's told to go on, and wasn't."""
        return "expect" in head.headers and not self._may_send

    async def _receive(self, target: Pipe, head: Head, answer: Head, passed: Passed, fault: Fault) -> bool:
        length, framed = answer.length, answer.is_chunked
        # A fault may change what the head says of the body; what comes is still framed as the registry does it.
        raw = await fault.answered(Head(answer.first, list(answer.lines)), self._proxy.canary)
        await self._client.write(raw)
        if head.method == "HEAD" or answer.status in _NO_BODY:
            return True
        pieces = fault.received(target.body(answer, until_end=length is None and not framed), length)
        await self._client.write_body(_counted(pieces, passed, "bytes_received"), chunked=framed)
        return framed or length is not None

    async def _replied(self, head: Head, reply: Reply, passed: Passed) -> bool:
        body = reply.body if head.method != "HEAD" else b""
        reply.head.put("Content-Length", str(len(reply.body)))
        early = reply.early or self._waits_to_send(head)
        if not early:
            async for _ in _counted(self._client.body(head, until_end=False), passed, "bytes_sent"):
                pass
        else:
            reply.head.put("Connection", "close")
        passed.status = reply.head.status
        passed.bytes_received = len(body)
        await self._client.write(reply.head.encode() + body)
        if early:
            await self._linger()
        return not early

    async def _linger(self) -> None:
        """Read on for a while: closed at once, what the client still sends would be answered by a reset that eats the reply."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while await self._client.reader.read(PIECE_BYTES):
                    pass

    async def _cut(self, cut: Cut) -> None:
        if cut.last:
            await self._client.write(cut.last)
        if not cut.orderly:
            _reset(self._client)
            if self._target is not None:
                _reset(self._target)


async def _counted(pieces: AsyncIterator[bytes], passed: Passed, counter: str) -> AsyncIterator[bytes]:
    async for piece in pieces:
        setattr(passed, counter, getattr(passed, counter) + len(piece))
        yield piece


async def _framed(pieces: AsyncIterator[bytes], chunked: bool) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at: whoever ended it has an error of his own


def _reset(pipe: Pipe) -> None:
    """End the connection with a reset in place of an orderly end."""
    plain: socket.socket = pipe.writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pipe.writer.transport.abort()
