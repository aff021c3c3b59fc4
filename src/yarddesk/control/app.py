"""`/api/v1`, `/healthz`, `/metrics` and `/version`."""

import asyncio
import hmac
import json
import math
import subprocess
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from yarddesk import __version__
from yarddesk.content.credentials import Secret
from yarddesk.control.documents import (
    cache_document,
    events_document,
    history_document,
    queue_document,
    status_document,
)
from yarddesk.control.metrics import render_metrics
from yarddesk.control.surface import ControlSurface
from yarddesk.control.traffic_metrics import render_traffic
from yarddesk.control.works import WorkAnswer
from yarddesk.errors import YarddeskError
from yarddesk.oci.json_bytes import json_bytes
from yarddesk.oci.name import ImageReference, InvalidTag, Tag, format_reference
from yarddesk.sync.snapshot import ConflictChoice

_MAX_BODY_BYTES: Final = 64 * 1024
_MAX_WAIT_SECONDS: Final = 30
_MAX_HISTORY: Final = 1000
_MAX_DIGITS: Final = 18
_MAX_PAUSE_SECONDS: Final = 10 * 365 * 24 * 3600

Endpoint = Callable[[Request], Awaitable[Response | WorkAnswer]]


class _Json(Response):
    """JSON whatever it holds: a file's name may be no text."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return json_bytes(content)


class _BadRequest(Exception):
    """What is wrong with a request, for a 400."""


def control_app(surface: ControlSurface, token: Secret) -> Starlette:
    """The ASGI application; all of `/api/v1` needs `Authorization: Bearer` and the token."""

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response | WorkAnswer:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token.reveal()}".encode()):
                return _problem(401, "The control API needs the token that lies in the data folder.")
            try:
                return await endpoint(request)
            except _BadRequest as error:
                return _problem(400, str(error))
            except YarddeskError as error:
                return _problem(409, str(error))

        return checked

    actions = _Actions(surface)
    return Starlette(
        routes=[
            Route("/version", _version),
            Route("/healthz", _healthy),
            Route("/metrics", actions.metrics),
            Route("/api/v1/status", guarded(actions.status), methods=["GET"]),
            Route("/api/v1/queue", guarded(actions.queue), methods=["GET"]),
            Route("/api/v1/history", guarded(actions.history), methods=["GET"]),
            Route("/api/v1/events", guarded(actions.events), methods=["GET"]),
            Route("/api/v1/pins", guarded(actions.pins), methods=["GET"]),
            Route("/api/v1/pause", guarded(actions.pause), methods=["POST"]),
            Route("/api/v1/resume", guarded(actions.resume), methods=["POST"]),
            Route("/api/v1/retry", guarded(actions.retry), methods=["POST"]),
            Route("/api/v1/cancel", guarded(actions.cancel), methods=["POST"]),
            Route("/api/v1/first", guarded(actions.first), methods=["POST"]),
            Route("/api/v1/decide", guarded(actions.decide), methods=["POST"]),
            Route("/api/v1/wait", guarded(actions.wait), methods=["POST"]),
            Route("/api/v1/account-changed", guarded(actions.account_changed), methods=["POST"]),
            Route("/api/v1/show", guarded(actions.show), methods=["POST"]),
            Route("/api/v1/{work}", guarded(actions.work), methods=["POST"]),
        ]
    )


class _Actions:
    """One endpoint a method."""

    def __init__(self, surface: ControlSurface) -> None:
        self._surface = surface

    async def status(self, _request: Request) -> Response:
        surface = self._surface
        await surface.counted()
        snapshot = surface.sync.snapshot()
        return _Json(status_document(snapshot, surface.url, cache_document(surface), surface.pull_health))

    async def queue(self, _request: Request) -> Response:
        snapshot = self._surface.sync.snapshot()
        # Thousands of images take a tenth of a second to be put down: others are not to wait for that.
        return await asyncio.to_thread(lambda: _Json(queue_document(snapshot)))

    async def history(self, request: Request) -> Response:
        limit = _whole(request, "limit", 100)
        return _Json(history_document(self._surface.sync.history(min(limit, _MAX_HISTORY))))

    async def events(self, request: Request) -> Response:
        """Without `since` what is kept, at once; with it what came after that, as soon as there is something."""
        log = self._surface.event_log
        seconds = min(_whole(request, "seconds", _MAX_WAIT_SECONDS), _MAX_WAIT_SECONDS)
        if "since" in request.query_params:
            happened = await log.wait(_whole(request, "since", 0), seconds)
        else:
            happened = log.since(None)
        if log.closed:
            return _problem(503, "yarddesk is stopping.")
        return _Json(events_document(happened))

    async def pins(self, _request: Request) -> Response:
        return _Json({"pins": await self._surface.pins()})

    async def metrics(self, _request: Request) -> Response:
        surface = self._surface
        await surface.counted()
        snapshot = surface.sync.snapshot()
        text = render_metrics(snapshot, surface.counters, cache_document(surface), surface.pull_health)
        text += render_traffic(surface.traffic, [upstream.upstream for upstream in snapshot.upstreams])
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def pause(self, request: Request) -> Response:
        body = await _body(request)
        seconds = body.get("for_seconds")
        if seconds is not None and not (_is_number(seconds) and 0 < seconds <= _MAX_PAUSE_SECONDS):
            raise _BadRequest(f"for_seconds is a number of seconds above 0, {_MAX_PAUSE_SECONDS:,} at most.")
        return _count(await self._surface.sync.pause(_target(body), for_seconds=seconds))

    async def resume(self, request: Request) -> Response:
        target = _target(await _body(request))
        return self._met(await self._surface.sync.resume(target), target)

    async def retry(self, request: Request) -> Response:
        target = _target(await _body(request))
        return self._met(await self._surface.sync.retry(target), target)

    async def cancel(self, request: Request) -> Response:
        return _count(await self._surface.sync.cancel(_target(await _body(request))))

    async def first(self, request: Request) -> Response:
        target = _target(await _body(request))
        if target is None:
            raise _BadRequest("target is needed: not everything can be first.")
        return self._met(await self._surface.sync.move_up(target), target)

    async def decide(self, request: Request) -> Response:
        body = await _body(request)
        target, choice = _target(body), body.get("choice")
        if target is None:
            raise _BadRequest("target is needed: which image it is.")
        if not isinstance(choice, str) or choice not in list(ConflictChoice):
            raise _BadRequest(f"choice is one of {', '.join(ConflictChoice)}.")
        upstream, tag, generation = body.get("upstream"), body.get("tag"), body.get("generation")
        if not isinstance(upstream, str | None) or not isinstance(tag, str | None):
            raise _BadRequest("upstream and tag are texts.")
        if generation is not None and not (isinstance(generation, int) and _is_number(generation)):
            raise _BadRequest("generation is a whole number.")
        if (tag is None) is (choice == ConflictChoice.TAG):
            raise _BadRequest("tag belongs to the choice “tag”, and to that alone.")
        count = await self._surface.sync.decide(
            target,
            ConflictChoice(choice),
            upstream=upstream,
            tag=_tag(tag) if tag is not None else None,
            generation=generation,
        )
        if not count or choice == ConflictChoice.KEEP:
            return _count(count)
        return self._met(count, target if tag is None else _under(target, _tag(tag)))

    async def wait(self, request: Request) -> Response:
        body = await _body(request)
        seconds = body.get("seconds", _MAX_WAIT_SECONDS)
        if not _is_number(seconds) or seconds < 0:
            raise _BadRequest("seconds is a number, 0 at least.")
        outcome = await self._surface.wait(_target(body), float(min(seconds, _MAX_WAIT_SECONDS)))
        return _Json({"state": outcome.state, "reason": outcome.reason})

    async def account_changed(self, request: Request) -> Response:
        body = await _body(request)
        registry = body.get("registry")
        if not isinstance(registry, str) or not registry:
            raise _BadRequest("registry is a text.")
        return _count(await self._surface.account_changed(registry, retry=body.get("retry") is True))

    async def work(self, request: Request) -> WorkAnswer:
        """What takes a while, of those that the surface names."""
        work = self._surface.works.get(request.path_params["work"])
        if work is None:
            raise HTTPException(404)
        return WorkAnswer(work, await _body(request))

    async def show(self, _request: Request) -> Response:
        if not self._surface.raise_window():
            return _problem(409, "This instance has no window.")
        return _count(1)

    def _met(self, count: int, target: str | None) -> Response:
        """What was to go on, and what of it doesn't all the same."""
        kept_back = self._surface.sync.kept_back(target)
        return _Json({"count": count, "kept_back": kept_back}) if kept_back else _count(count)


async def _version(_request: Request) -> Response:
    return _Json({"name": "yarddesk", "version": __version__, "revision": await asyncio.to_thread(revision)})


async def _healthy(_request: Request) -> Response:
    return _Json({"status": "ok"})


@cache
def revision() -> str:
    """The commit that runs, where this is a checkout with git; empty elsewhere."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip()


async def _body(request: Request) -> dict[str, Any]:
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > _MAX_BODY_BYTES:
            raise _BadRequest("The request's body is too long.")
    if not received:
        return {}
    try:
        document = json.loads(received)
    except (ValueError, RecursionError) as error:
        raise _BadRequest("The request's body is not JSON.") from error
    if not isinstance(document, dict):
        raise _BadRequest("The request's body is not a JSON object.")
    return document


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < _MAX_DIGITS):
        raise _BadRequest(f"{name} is a whole number.")
    return int(text)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _target(body: dict[str, Any]) -> str | None:
    target = body.get("target")
    if target is not None and not isinstance(target, str):
        raise _BadRequest("target is a text.")
    return target or None


def _under(target: str, tag: Tag) -> str:
    """What an image is called that goes on under another tag; what names none (an upstream) as it is."""
    try:
        return format_reference(ImageReference.parse(target).repository, tag)
    except YarddeskError:
        return target


def _tag(text: str) -> Tag:
    try:
        return Tag.parse(text)
    except InvalidTag as error:
        raise _BadRequest(str(error)) from error


def _count(count: int) -> Response:
    return _Json({"count": count})


def _problem(status: int, message: str) -> Response:
    return _Json({"error": message}, status_code=status)
