"""What is told of each request when it's over: counted, and a line in the log for whoever wants one."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from yarddesk.progress.traffic import Source, Traffic
from yarddesk.registry.answers import SOURCE, Answer
from yarddesk.registry.guard import GuardedApp
from yarddesk.registry.observer import Observer
from yarddesk.registry.requests import described

_log = logging.getLogger("yarddesk.requests")

_MOST_BODY_BYTES: Final = 4096
_MOST_AGENT: Final = 80
_JSON: Final = (b"application/json", b"+json")
_REQUEST_BODY: Final = "yarddesk.request_body"
_ANSWER_BODY: Final = "yarddesk.answer_body"


@dataclass(frozen=True, slots=True)
class RequestLog:
    """How requests are logged: at which of logging's levels, with which bodies, and which paths are not (`*` at the end: all below)."""

    level: int
    request_body: bool = False
    response_body: bool = False
    ignore_paths: Iterable[str] = ()

    def ignores(self, path: str) -> bool:
        return any(
            path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern for pattern in self.ignore_paths
        )

    def write(self, scope: Scope, status: int, received: int, sent: int, seconds: float) -> None:
        """One line. Neither a query's values nor any header but the client's name is in it."""
        if not _log.isEnabledFor(self.level) or self.ignores(scope["path"]):
            return
        client = scope.get("client")
        query = "?…" if scope["query_string"] else ""
        line = (
            f"{described(scope)}{query} {status or 'cut'}, {received:,} bytes in, {sent:,} out, "
            f"{seconds * 1000:.1f} ms, {client[0] if client else '-'}{_agent(scope)}"
        )
        for title, key in (("asked", _REQUEST_BODY), ("answered", _ANSWER_BODY)):
            if body := scope.get(key):
                line += f"\n  {title}: {body}"
        _log.log(self.level, "%s", line)


class Access(Observer):
    """Counts what passes; `log` may be set while it runs."""

    def __init__(self, traffic: Traffic) -> None:
        self.log: RequestLog | None = None
        self._traffic = traffic

    def ended(self, scope: Scope, status: int, received: int, sent: int, seconds: float) -> None:
        source: Source = scope.get(SOURCE, "other")
        self._traffic.request(scope["method"], status, received, sent, source)
        if source != "other" and scope["method"] == "GET":
            self._traffic.lookup("blob", "hit" if source == "store" else "miss")
        if self.log is not None:
            self.log.write(scope, status, received, sent, seconds)

    def refused(self, status: int) -> None:
        self._traffic.request("OTHER", status, 0, 0, "other")
        if self.log is not None and _log.isEnabledFor(self.log.level):
            _log.log(self.log.level, "what was no request %d", status)


class WithBodies:
    """Keeps the bodies that the log is to have, of requests and answers in JSON, short ones alone. Everything else passes as it is."""

    def __init__(self, app: GuardedApp, access: Access) -> None:
        self._app = app
        self._access = access

    def answer_at_once(self, scope: Scope) -> Answer | None:
        return self._app.answer_at_once(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        log = self._access.log
        if log is not None and not scope["path"].startswith("/api/"):
            if log.request_body and "/blobs/uploads/" not in scope["path"]:
                receive = _kept_request(scope, receive)
            if log.response_body:
                send = _kept_answer(scope, send)
        await self._app(scope, receive, send)


class _Kept:
    """A body as far as it's short."""

    def __init__(self, scope: Scope, key: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._scope = scope
        self._key = key
        self._body: bytearray | None = bytearray() if _is_json(headers) else None

    def take(self, piece: bytes, *, more: bool) -> None:
        if self._body is None:
            return
        if len(self._body) + len(piece) > _MOST_BODY_BYTES:
            self._body = None
            return
        self._body += piece
        if not more:
            self._scope[self._key] = _in_a_line(bytes(self._body))


def _kept_request(scope: Scope, receive: Receive) -> Receive:
    kept = _Kept(scope, _REQUEST_BODY, scope["headers"])

    async def receive_and_keep() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            kept.take(message.get("body", b""), more=message.get("more_body", False))
        return message

    return receive_and_keep


def _kept_answer(scope: Scope, send: Send) -> Send:
    kept: _Kept | None = None

    async def send_and_keep(message: Message) -> None:
        nonlocal kept
        if message["type"] == "http.response.start":
            kept = _Kept(scope, _ANSWER_BODY, message.get("headers", ()))
        elif message["type"] == "http.response.body" and kept is not None:
            kept.take(message.get("body", b""), more=message.get("more_body", False))
        await send(message)

    return send_and_keep


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    said = next((value for name, value in headers if name == b"content-type"), b"").partition(b";")[0].strip().lower()
    return said.endswith(_JSON)


def _in_a_line(body: bytes) -> str:
    """The JSON anew, so that it's one line and holds no character that a terminal would obey; nothing where it is none."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return json.dumps(document, separators=(",", ":"))


def _agent(scope: Scope) -> str:
    said = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")[:_MOST_AGENT]
    plain = "".join(character if " " <= character <= "~" else "?" for character in said.decode("latin-1"))
    return f", {plain}" if plain else ""
