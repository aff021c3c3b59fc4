"""A request's head: what httptools reads of it, whether it is one that is taken, and what the application is told."""

import urllib.parse
from typing import Final

from starlette.types import Scope

from yarddesk.registry.limits import Limits

Fault = tuple[int, str]
"""The status and the words with which a request is refused."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_VERSIONS: Final = ("1.1", "1.0")


class RequestHead:
    """One head, as its parts come. `length` and `coding`: Content-Length and Transfer-Encoding as they were sent."""

    __slots__ = ("coding", "expects_continue", "headers", "length", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.length = b""
        self.coding = b""
        self.expects_continue = False

    @property
    def announces_body(self) -> bool:
        return bool(self.coding or self.length)

    def add(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self.length = value.strip()
        elif name == b"transfer-encoding":
            self.coding += value.strip().lower()
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expects_continue = True
        self.headers.append((name, value))

    def too_large(self, limits: Limits) -> Fault | None:
        if len(self.target) > limits.target_bytes:
            return 414, "The request's target is too long."
        if len(self.headers) > limits.header_count:
            return 431, "The request has too many headers."
        if sum(len(name) + len(value) for name, value in self.headers) > limits.header_bytes:
            return 431, "The request's headers are too long."
        return None

    def wrongly_framed(self, version: str) -> Fault | None:
        if self.coding and version == "1.0":
            # Whoever sends it may be misunderstood on the way.
            return 400, "HTTP/1.0 knows no Transfer-Encoding."
        if self.coding not in (b"", b"chunked"):
            return 501, "A request's body comes as it is, or chunked."
        return None

    def scope(self, method: str, version: str, connection: Scope) -> Scope | None:
        """What the application is told, with what `connection` says of every request; None: target or version isn't valid."""
        target = self.target
        if version not in _VERSIONS:
            return None
        if not target.startswith(b"/"):
            target = self._own_form(target)
            if not target:
                return None
        raw_path, _, query = target.partition(b"#")[0].partition(b"?")
        path = raw_path.decode("latin-1")
        return {
            **connection,
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "root_path": "",
            "headers": self.headers,
            "method": method,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
        }

    def _own_form(self, target: bytes) -> bytes:
        """Path and query of an absolute-form target, whose host counts in place of the header's (RFC 9112, 3.2.2)."""
        scheme, separator, rest = target.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        if not separator or scheme.lower() not in (b"http", b"https") or not authority:
            return b""
        self.headers = [(name, authority if name == b"host" else value) for name, value in self.headers]
        return slash + path or b"/"
