"""Every way in which a request to an upstream fails, told apart once: what it is, in words, and whether it passes."""

import email.utils
import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, StreamReset
from h2.exceptions import H2Error

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamFull,
    UpstreamPage,
    UpstreamPortal,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)
from yarddesk.upstream.words import is_page, said

_MAX_RETRY_AFTER: Final = 3600.0
_PASSING: Final = frozenset({408, 425, 429, 499})
_LOG_IN_TO_THE_NETWORK: Final = 511
"""What stands in between says so, and never a registry (RFC 6585)."""

_UNREACHABLE: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH})
_NO_ROOM: Final = re.compile(r"\bquota\b|exceed the configured upper limit", re.IGNORECASE)
"""What registries say, with 403 or another 4xx, when a quota is used up; the second is Harbor's."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Makes the failures of one upstream. `name` is what settings call it, `registry` its host as people know it.

    `secrets` tells what must not appear in any words. `is_configured`: it's the settings that say how to sign in there, and no
    keychain is asked.
    """

    name: str
    registry: str
    secrets: Callable[[], Iterable[str]] = tuple
    is_configured: bool = False

    def of_transport(self, error: Exception, host: str) -> UpstreamFailure:
        """For an exception of httpx, or a TimeoutError of ours, that came while `host` was spoken to."""
        whom = host or self.registry
        if isinstance(error, httpx.ProxyError):
            return self._away(
                f"The proxy on the way to {whom} refused.", str(error), hint="Look at HTTPS_PROXY and NO_PROXY."
            )
        if isinstance(error, httpx.ConnectTimeout):
            return UpstreamTimeout(self.name, f"{whom} could not be reached.", "No connection in time.", temporary=True)
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            return UpstreamStalled(self.name, f"{whom} gave no answer.", str(error), temporary=True)
        if isinstance(error, httpx.ConnectError):
            return self._unconnected(error, whom)
        if ended := _ended_stream(error):
            return self.broken(f"The connection to {whom} broke.", ended)
        if isinstance(error, httpx.RemoteProtocolError) and not _is_end(error):
            return self.untrue(f"{whom} does not answer as a registry does.", str(error))
        if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            title, cause = f"The connection to {whom} broke.", _root(error)
            lost = isinstance(cause, OSError) and cause.errno in _UNREACHABLE
            return self._away(title, _cause(error)) if lost else self.broken(title, _cause(error))
        return self.untrue(f"{whom} could not be asked.", f"{type(error).__name__}: {error}")

    def of_answer(
        self,
        status: int,
        headers: httpx.Headers,
        body: bytes,
        what: str,
        *,
        elsewhere: str = "",
        hidden: Iterable[str] = (),
        reading: bool = False,
    ) -> UpstreamFailure | NotFound:
        """For an answer that isn't what `what` ("the manifest of team/app:v1", "the upload") needs.

        `elsewhere` is the host that answered when it's not the registry but one that it sent us to; `hidden`: what it must not
        be quoted with. `reading`: nothing was to be changed there.
        """
        if status == _LOG_IN_TO_THE_NETWORK:
            return self.portal()
        words, errors = said(body, headers.get("content-type", ""), (*self.secrets(), *hidden))
        codes = tuple(error.code for error in errors)
        if status == 404 and not elsewhere:
            absent = NotFound(f"{self.registry} does not have {what}.", words)
            absent.codes = codes
            return absent
        if status == 507 or (400 <= status < 500 and status not in _PASSING and _NO_ROOM.search(words)):
            return UpstreamFull(
                self.name,
                f"{self.registry} has no room for {what}.",
                _with_status(words, status),
                hint="Make room there, or have the quota raised.",
                status=status,
                codes=codes,
            )
        whom = f"{elsewhere}, where {self.registry} keeps its content," if elsewhere else self.registry
        if _passes(status, codes) or (elsewhere and status in (401, 403, 404)):
            return self._trouble(whom, status, headers, words, codes)
        if status in (401, 403):
            return self.denied(
                f"{whom} denies access to {what}.", _with_status(words, status), status=status, codes=codes
            )
        if status < 400:
            if status >= 300 or is_page(headers.get("content-type", ""), body):
                return self.page(_with_status(words, status), status=status, whom=whom)
            return self.untrue(
                f"{whom} does not answer as a registry does.", _with_status(words, status), status=status
            )
        return UpstreamRefused(
            self.name,
            f"{whom} gives no answer about {what}." if reading else f"{whom} does not take {what}.",
            _with_status(words, status),
            hint="Something before it, a proxy perhaps, may take the question for another one." if reading else "",
            status=status,
            codes=codes,
        )

    def of_token_server(self, status: int, headers: httpx.Headers, body: bytes, host: str) -> UpstreamFailure:
        """For an answer of `host` without a token, that doesn't say that the credential is wrong."""
        if status == _LOG_IN_TO_THE_NETWORK:
            return self.portal()
        words, errors = said(body, headers.get("content-type", ""), self.secrets())
        codes = tuple(error.code for error in errors)
        whom = f"The token server of {self.registry} ({host})"
        if _passes(status, codes):
            return self._trouble(whom, status, headers, words, codes)
        if status < 400:
            return self.page(_with_status(words, status), status=status, whom=whom)
        return UpstreamRefused(
            self.name, f"{whom} gives no token.", _with_status(words, status), status=status, codes=codes
        )

    def _trouble(
        self, whom: str, status: int, headers: httpx.Headers, words: str, codes: tuple[str, ...]
    ) -> UpstreamTrouble:
        return UpstreamTrouble(
            self.name,
            f"{whom} asks to wait." if status == 429 or "TOOMANYREQUESTS" in codes else f"{whom} is in trouble.",
            _with_status(words, status),
            temporary=True,
            status=status,
            retry_after_seconds=parse_retry_after(headers.get("retry-after", "")),
            codes=codes,
        )

    def denied(
        self, title: str, message: str = "", *, hint: str = "", status: int | None = None, codes: Iterable[str] = ()
    ) -> UpstreamDenied:
        hint = hint or self.sign_in("Sign in with an account that may")
        return UpstreamDenied(self.name, title, message, hint=hint, status=status, codes=tuple(codes))

    def sign_in(self, how: str) -> str:
        """The next step for who isn't let in."""
        if self.is_configured:
            return f"The settings say how to sign in: change upstreams[].auth of {self.name}."
        return f"{how}: yarddesk login {self.registry}"

    def untrue(
        self, title: str, message: str = "", *, status: int | None = None, codes: Iterable[str] = ()
    ) -> UpstreamUntrue:
        return UpstreamUntrue(
            self.name,
            title,
            message,
            hint="Is a proxy, or a network that wants you to log in first, in between?",
            temporary=True,
            status=status,
            codes=tuple(codes),
        )

    def not_a_registry(self, what: str, *, status: int | None = None) -> UpstreamUntrue:
        """An answer that has the right status and isn't a registry's."""
        return self.untrue(f"{self.registry} does not answer as a registry does.", what, status=status)

    def page(self, what: str, *, status: int | None = None, whom: str = "") -> UpstreamPage:
        """A web page, or a way to one, in place of a registry's answer."""
        untrue = self.untrue(f"{whom or self.registry} does not answer as a registry does.", what, status=status)
        return UpstreamPage(
            self.name, untrue.title, untrue.message, hint=untrue.hint, temporary=True, status=untrue.status
        )

    def portal(self, where: str = "") -> UpstreamPortal:
        """`where` it leads to."""
        return UpstreamPortal(
            self.name,
            f"A login page answers in the place of {self.registry}.",
            f"It leads to {where}." if where else "",
            hint="Log in to this network with a browser; what waits then goes on by itself.",
            temporary=True,
        )

    def broken(self, title: str, message: str = "") -> UpstreamBroken:
        return UpstreamBroken(self.name, title, message, temporary=True)

    def untrusted(self, title: str, message: str, *, hint: str = "") -> UpstreamUntrusted:
        return UpstreamUntrusted(self.name, title, message, hint=hint)

    def away(self, title: str, message: str = "", *, hint: str = "") -> UpstreamAway:
        return self._away(title, message, hint=hint)

    def _away(self, title: str, message: str = "", *, hint: str = "") -> UpstreamAway:
        return UpstreamAway(self.name, title, message, hint=hint, temporary=True)

    def _unconnected(self, error: httpx.ConnectError, whom: str) -> UpstreamAway | UpstreamUntrusted:
        cause = _root(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return self.untrusted(
                f"The certificate of {whom} is not trusted.",
                f"{cause.verify_message.rstrip('.')}.",
                hint="Name your company's certificate in upstreams[].tls.ca_file, or let the system trust it.",
            )
        if isinstance(cause, ssl.SSLError):
            return self._away(
                f"No secure connection to {whom}.",
                cause.reason or str(cause),
                hint="Does it speak plain HTTP? Then set upstreams[].tls.plain_http.",
            )
        if isinstance(cause, socket.gaierror):
            return self._away(f"{whom} was not found.", cause.strerror or str(cause))
        if isinstance(cause, ConnectionRefusedError):
            return self._away(f"{whom} refused the connection.", "Nothing listens there.")
        return self._away(f"{whom} could not be reached.", _cause(error))


def _passes(status: int, codes: tuple[str, ...]) -> bool:
    return status in _PASSING or status >= 500 or "TOOMANYREQUESTS" in codes


def parse_retry_after(header: str, now: datetime | None = None) -> float | None:
    """Seconds to wait (RFC 9110, 10.2.3), between 1 and 3,600; None where the header says nothing that can be read."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return min(max(float(text[:12]), 1.0), _MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 1.0), _MAX_RETRY_AFTER)


def wants_http1(failure: BaseException) -> bool:
    """Whether this came of a server that wants the same over HTTP/1.1 (RFC 9113, section 7)."""
    codes = (event.error_code for event in _events(failure))
    return ErrorCodes.HTTP_1_1_REQUIRED in codes


def _ended_stream(error: Exception) -> str:
    """How HTTP/2 ended before the answer did, in words; empty where that's not what happened."""
    for event in _events(error):
        code = event.error_code
        name = code.name if isinstance(code, ErrorCodes) else str(code)
        if isinstance(event, ConnectionTerminated):
            return f"It closes the connection (GOAWAY, {name})."
        return f"It gave the request up (RST_STREAM, {name})."
    return "Its HTTP/2 came to an end." if any(isinstance(each, H2Error) for each in _causes(error)) else ""


def _events(error: BaseException) -> Iterator[ConnectionTerminated | StreamReset]:
    """What httpcore says that an HTTP/2 server did."""
    for cause in _causes(error):
        for told in cause.args:
            if isinstance(told, ConnectionTerminated | StreamReset):
                yield told


def _is_end(error: Exception) -> bool:
    """Whether the other side just went away, in the middle of or before an answer."""
    text = str(error)
    return "disconnected" in text or "closed connection" in text or "ConnectionClosed" in text


def _with_status(words: str, status: int) -> str:
    return f"{words} [{status}]" if words else f"It answered with status {status}."


def _cause(error: Exception) -> str:
    root = _root(error)
    return (root.strerror or str(root)) if isinstance(root, OSError) else str(error)


def _root(error: BaseException) -> BaseException:
    """The exception at the bottom: httpx and anyio wrap what the socket said."""
    return list(_causes(error))[-1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it came of."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        if isinstance(following, BaseExceptionGroup):
            following = following.exceptions[0]
            continue
        following = following.__cause__ or following.__context__
