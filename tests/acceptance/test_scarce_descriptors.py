"""`yarddesk serve` where the system gives it few descriptors: it says so, waits, and goes on when some are free."""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.support.images import build_image
from tests.support.waiting import until

SPARE = 6


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_it_waits_and_goes_on(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    image = build_image("before", (300_000,))
    serve.push("team/app", "1", image)
    limit = descriptors(serve.pid) + SPARE
    serve.terminate()
    serve.within = ["prlimit", f"--nofile={limit}:{limit}"]
    serve.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((serve.host, serve.port))) for _ in range(3 * SPARE)]
        serve.wait_for_line("too many files are open")
        before = processor_seconds(serve.pid)
        # Those that got through are served as far as there are descriptors for files; the others wait to be accepted.
        request = f"GET /v2/team/app/blobs/{image.layers[0].digest} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for client in clients:
            with suppress(ConnectionError):  # it was silent for too long
                client.sendall(request.encode())
        answers = first_lines(clients)
        assert answers
        assert all(answer.split()[1:2] in ([b"200"], [b"503"]) for answer in answers), answers
        assert processor_seconds(serve.pid) - before < 1.5
    # Connections are accepted in their order: who is answered now has all of those behind it.
    until(lambda: serve.holds("team/app", "1", image), 30, "an answer after those who hung up")
    until(lambda: descriptors(serve.pid) < limit - 2, 30, "free descriptors")
    assert serve.holds("team/app", "1", image)
    after = build_image("after", (300_000,))
    serve.push("team/app", "2", after)
    assert serve.holds("team/app", "2", after)
    assert serve.output().count("too many files are open:") <= 2
    assert serve.terminate() == 0


def first_lines(clients: list[socket.socket]) -> list[bytes]:
    """Of what is answered until two seconds after the first of them: the others' turn comes later."""
    end, silent, answers = time.monotonic() + 20, list(clients), []
    while silent and (left := end - time.monotonic()) > 0:
        for client in select.select(silent, [], [], left)[0]:
            silent.remove(client)
            with suppress(ConnectionError):
                answers.append(client.recv(65536).partition(b"\r\n")[0])
        if any(answers):
            end = min(end, time.monotonic() + 2)
    return [answer for answer in answers if answer]
