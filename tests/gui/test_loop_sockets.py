"""Sockets, files, processes, names and signals on the loop, with real peers in other threads and processes."""

import asyncio
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
import watchfiles
from PySide6.QtCore import QSocketNotifier
from PySide6.QtWidgets import QApplication

from tests.gui.loops import LOOPS, closing, run_on
from tests.support.ports import held_port
from yarddesk.desktop import loop_descriptor
from yarddesk.desktop.loop_descriptor import DescriptorLoop
from yarddesk.desktop.loop_queue import QueueLoop

pytestmark = pytest.mark.parametrize("kind", LOOPS)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def say_and_hear(port: int, text: bytes, **tls: Any) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
    writer.write(text)
    writer.write_eof() if writer.can_write_eof() else None
    heard = await reader.readexactly(len(text))
    writer.close()
    await writer.wait_closed()
    return heard


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def test_500_connections_echo_at_once(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> list[bytes]:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=600) as server:
            talks = [say_and_hear(port_of(server), b"%d" % number * 5000) for number in range(500)]
            return await asyncio.gather(*talks)

    assert run_on(kind, qapp, main()) == [b"%d" % number * 5000 for number in range(500)]


def test_a_slow_reader_holds_up_the_writer_and_nobody_else(kind: type[QueueLoop], qapp: QApplication) -> None:
    size = 32 << 20

    async def main() -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        drained = asyncio.Event()

        async def send_much(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x" * size)
            await writer.drain()
            drained.set()
            writer.close()

        async with (
            await asyncio.start_server(send_much, "127.0.0.1", 0) as much,
            await asyncio.start_server(echo, "127.0.0.1", 0) as other,
        ):
            with socket.socket() as slow:
                slow.setblocking(False)
                await loop.sock_connect(slow, ("127.0.0.1", port_of(much)))
                heard = await say_and_hear(port_of(other), b"hello")
                assert not drained.is_set()
                got = 0
                while piece := await loop.sock_recv(slow, 1 << 20):
                    got += len(piece)
                await drained.wait()
                return got, heard

    assert run_on(kind, qapp, main()) == (size, b"hello")


def test_sendfile_sends_a_file_and_counts_its_bytes(kind: type[QueueLoop], qapp: QApplication, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(5 << 20))

    async def main() -> str:
        sent: list[int] = []

        class Sender(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                self.task = asyncio.ensure_future(self.send(transport))

            async def send(self, transport: asyncio.Transport) -> None:
                loop = asyncio.get_running_loop()
                with path.open("rb") as file:
                    sent.append(await loop.sendfile(transport, file, 1 << 20, 3 << 20, fallback=False))
                transport.close()

        server = await asyncio.get_running_loop().create_server(Sender, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            got = await reader.read()
            writer.close()
            await writer.wait_closed()
        assert sent == [3 << 20]
        return hashlib.sha256(got).hexdigest()

    expected = hashlib.sha256(path.read_bytes()[1 << 20 : 4 << 20]).hexdigest()
    assert run_on(kind, qapp, main()) == expected


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def contexts(certificate: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    return serving, ssl.create_default_context(cafile=str(certificate) + ".crt")


def test_tls_servers_and_clients_talk(kind: type[QueueLoop], qapp: QApplication, certificate: Path) -> None:
    serving, asking = contexts(certificate)

    async def main() -> list[bytes]:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            talks = [say_and_hear(port_of(server), b"%d" % n * 50_000, ssl=asking) for n in range(20)]
            return await asyncio.gather(*talks)

    assert run_on(kind, qapp, main()) == [b"%d" % n * 50_000 for n in range(20)]


def test_a_connection_can_be_upgraded_to_tls(kind: type[QueueLoop], qapp: QApplication, certificate: Path) -> None:
    serving, asking = contexts(certificate)

    async def main() -> bytes:
        async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.drain()
            await writer.start_tls(serving)
            await echo(reader, writer)

        async with await asyncio.start_server(upgrade, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(asking, server_hostname="localhost")
            writer.write(b"secret")
            heard = await reader.readexactly(6)
            writer.close()
            await writer.wait_closed()
            return heard

    assert run_on(kind, qapp, main()) == b"secret"


def test_sockets_of_ones_own_can_be_served_and_asked(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as asking:
            listening.setblocking(False)
            asking.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listening))
            await loop.sock_connect(asking, listening.getsockname())
            accepted, _ = await accepting
            with accepted:
                await loop.sock_sendall(asking, b"question")
                question = await loop.sock_recv(accepted, 100)
                buffer = bytearray(100)
                await loop.sock_sendall(accepted, question + b", answer")
                return bytes(buffer[: await loop.sock_recv_into(asking, buffer)])

    assert run_on(kind, qapp, main()) == b"question, answer"


def test_a_refused_connection_is_an_error(kind: type[QueueLoop], qapp: QApplication) -> None:
    with held_port() as port, pytest.raises(ConnectionRefusedError):
        run_on(kind, qapp, asyncio.open_connection("127.0.0.1", port))


def test_unix_sockets_and_datagrams_work(kind: type[QueueLoop], qapp: QApplication, tmp_path: Path) -> None:
    class Answer(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, content: bytes, sender: Any) -> None:
            self.transport.sendto(content.upper(), sender)

    async def main() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        async with await asyncio.start_unix_server(echo, tmp_path / "socket"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.write(b"stream")
            stream = await reader.readexactly(6)
            writer.close()
            await writer.wait_closed()
        transport, _ = await loop.create_datagram_endpoint(Answer, local_addr=("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.connect(transport.get_extra_info("sockname"))
            await loop.sock_sendall(asking, b"datagram")
            datagram = await loop.sock_recv(asking, 100)
        transport.close()
        await asyncio.sleep(0)
        return stream, datagram

    assert run_on(kind, qapp, main()) == (b"stream", b"DATAGRAM")


def test_a_reader_replaced_or_removed_is_not_called_again(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        done = loop.create_future()
        written = loop.create_future()
        ours, theirs = socket.socketpair()

        def called_once() -> None:
            seen.append("called")
            loop.remove_reader(ours)
            done.set_result(None)

        def written_once() -> None:
            loop.remove_writer(ours)
            written.set_result(None)

        with ours, theirs:
            loop.add_reader(ours, seen.append, "replaced")
            loop.add_reader(ours, called_once)
            theirs.send(b"x")
            await done
            await asyncio.sleep(0.01)
            assert not loop.remove_reader(ours)
            loop.add_writer(ours, written_once)
            await written
        return seen

    assert run_on(kind, qapp, main()) == ["called"]


def test_names_are_resolved(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

    assert run_on(kind, qapp, main())


def test_processes_are_run_and_waited_for(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def run_one(number: int) -> tuple[int | None, bytes]:
        code = f"import sys; sys.stdout.write(sys.stdin.read() * 1000); sys.exit({number})"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
        out, _ = await process.communicate(b"abc")
        return process.returncode, out

    async def main() -> list[tuple[int | None, bytes]]:
        return await asyncio.gather(*(run_one(number) for number in range(4)))

    assert run_on(kind, qapp, main()) == [(number, b"abc" * 1000) for number in range(4)]


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_delivered_while_qt_sleeps(kind: type[QueueLoop], qapp: QApplication, name: signal.Signals) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_signal_handler(name, came.set_result, None)
        # another process sends it, so that no Python code of ours runs when it comes
        sender = subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -{name.value} {os.getpid()}"])
        await came
        loop.remove_signal_handler(name)
        await asyncio.to_thread(sender.wait)

    run_on(kind, qapp, main())


def test_an_ordinary_python_signal_handler_runs_while_qt_sleeps(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        before = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon(came.set_result, None))
        try:
            sender = subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -USR1 {os.getpid()}"])
            await came
            await asyncio.to_thread(sender.wait)
        finally:
            signal.signal(signal.SIGUSR1, before)

    run_on(kind, qapp, main())


def test_ctrl_c_ends_the_loop_while_qt_sleeps(kind: type[QueueLoop], qapp: QApplication) -> None:
    handled = signal.getsignal(signal.SIGINT)
    sender = subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -INT {os.getpid()}"])
    with closing(lambda: kind(qapp)) as loop:
        loop.call_later(30, loop.stop)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    sender.wait()
    assert signal.getsignal(signal.SIGINT) is handled


async def hello(scope: Any, receive: Any, send: Any) -> None:
    size = 0
    while (piece := await receive())["type"] == "http.request":
        size += len(piece["body"])
        if not piece["more_body"]:
            break
    text = b"%d bytes to %s" % (size, scope["path"].encode())
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def serving(ask: Coroutine[Any, Any, Any], listening: socket.socket) -> Any:
    config = uvicorn.Config(hello, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        return await ask
    finally:
        server.should_exit = True
        await task


def test_uvicorn_answers_httpx_on_the_same_loop(kind: type[QueueLoop], qapp: QApplication) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    async def ask() -> list[str]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(f"/{n}", content=b"x" * n * 10_000) for n in range(50)))
        return [answer.text for answer in answers]

    expected = [f"{n * 10_000} bytes to /{n}" for n in range(50)]
    assert run_on(kind, qapp, serving(ask(), listening)) == expected


def test_uvicorn_answers_clients_in_other_threads(kind: type[QueueLoop], qapp: QApplication) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def ask_often(number: int) -> int:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            return sum(client.get(f"/{number}").status_code == 200 for _ in range(50))

    async def ask() -> list[int]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(8) as threads:
            return await asyncio.gather(*(loop.run_in_executor(threads, ask_often, n) for n in range(8)))

    assert run_on(kind, qapp, serving(ask(), listening)) == [50] * 8


def test_watchfiles_sees_a_file_go(kind: type[QueueLoop], qapp: QApplication, tmp_path: Path) -> None:
    marker = tmp_path / "latest.json"
    marker.write_text("{}")

    async def main() -> set[tuple[watchfiles.Change, str]]:
        stop = asyncio.Event()
        deleting = threading.Timer(0.2, marker.unlink)
        deleting.start()
        async for changes in watchfiles.awatch(tmp_path, stop_event=stop, step=10):
            if (watchfiles.Change.deleted, str(marker)) in changes:
                stop.set()
                return changes
        return set()

    assert run_on(kind, qapp, main())


def test_sockets_work_where_qt_does_not_watch_the_selectors_descriptor(
    kind: type[QueueLoop], qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeafNotifier(QSocketNotifier):
        def __init__(self, descriptor: int, direction: QSocketNotifier.Type) -> None:
            super().__init__(descriptor, direction)
            self.setEnabled(False)

    async def main() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            return await say_and_hear(port_of(server), b"hello" * 100_000)

    monkeypatch.setattr(loop_descriptor, "QSocketNotifier", DeafNotifier)
    assert run_on(DescriptorLoop, qapp, main()) == b"hello" * 100_000
