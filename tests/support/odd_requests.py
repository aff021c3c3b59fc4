"""Requests that a hostile or broken client could send, made from the choices in some bytes: paths, queries, headers, bodies.

Bytes are what a fuzzer gives, quickly and in all variety; fewer and smaller ones make plainer requests, so that a failure can be
cut down to what it takes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

BLOB = b"hello"
"""A blob that should be there, so that some of the manifests are taken."""

_HEX = hashlib.sha256(BLOB).hexdigest()
DIGEST = f"sha256:{_HEX}"
_TYPES = (
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json", "application/json",
    "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html", "a/b", "A/B; q=1", "", "a/b\r\nX: y", "\0",
    "a/\ud800", "é/ü", "x" * 5000, "*/*", "multipart/form-data; boundary=x",
)  # fmt: skip

METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE")
ODD_METHODS = (b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"PURGE", b"M-SEARCH", b"get", b"X", b"")

_COMPONENTS = (
    "app", "team", "fuzz", "up", "library", "v2", "a", "con", "nul", "aux.txt", "com1", "lpt9", "con.json", "x.json",
    "_tags", "_sha256", "_referrers", "tags", "list", "blobs", "uploads", "manifests", "referrers", "_catalog", "temporary-x",
    "..", ".", "...", "....//", "", " ", "~", "-", "_", "a_b", "a__b", "a___b", "a..b", "a.b", "APP", "App", "é", "e\u0301",
    "\uff0e\uff0e", "\u2025", "\u2215", "app.", "app ", "app:8", "app::$DATA", "app~1", "etc", "passwd", "proc", "self", "root",
    "x" * 128, "x" * 255, "x" * 256, "x" * 300, "C:", "\\\\host\\share", "\\..\\..", "..\\", "%", "%2", "%zz", "%u002e", "\0",
    "\r\n", "\n", "\x7f", ";", "?", "#", "&", "=", "*", "'", '"', "<script>", "${HOME}", "`id`", "$(id)", "|", "\ufeff", "\u202e",
)  # fmt: skip
_REFERENCES = (
    "v1", "latest", "V1", "1.0", "con", "nul.json", "x.json", "sha256_" + _HEX, f"sha256-{_HEX}", DIGEST, DIGEST.upper(),
    DIGEST[:-1], DIGEST + "0", "sha256:", ":", "sha256:" + "0" * 64, "sha512:" + hashlib.sha512(BLOB).hexdigest(),
    "sha256:../../../../../../etc/passwd", "sha256:" + "../" * 21 + "x", "md5:" + "0" * 32, "sha256:sha256:" + _HEX,
    "sha256:" + "\uff10" * 64, "sha256+b64:" + "A" * 43, "..", ".", "t" * 128, "t" * 129, "T" * 128, "_", "-x", ".x", "x.",
    "00000000-0000-0000-0000-000000000000", "..%2f..%2fx", "control.token", "lock", "",
)  # fmt: skip
_QUERIES = {
    "n": ("0", "1", "-1", "abc", "99999999999999999999999", "1e3", "٣", "", "1" * 5000),
    "last": ("", "v1", "..", "\0", "x" * 3000, "\ud7ff", "%00"),
    "digest": (DIGEST, DIGEST.upper(), "sha256:..", "", "sha512:" + hashlib.sha512(BLOB).hexdigest(), "x" * 500),
    "mount": (DIGEST, "sha256:" + "0" * 64, "../..", ""),
    "from": ("fuzz/app", "../..", "", "x" * 300, "UP/ER"),
    "ns": (
        "up",
        "docker.io",
        "evil.example",
        "127.0.0.1:1",
        "localhost:5050",
        "..",
        "",
        "a/../b",
        "\r\nX: y",
        "[::1]:5",
    ),
    "tag": ("v1", "..", "", "t" * 129, "a,b"),
    "artifactType": ("a/b", "", "\0", "application/vnd.x+json"),
    "digest-algorithm": ("sha512", "md5", ""),
}
_INTEGERS = ("0", "1", "5", "-1", "+1", "1_0", "0x10", "99999999999999999999999999", "1.0", "", " ", "٣", "1" * 4400)
_RANGES = (
    "0-4", "5-9", "0-" + "9" * 4400, "9" * 4400 + "-", "0-0", "4-0", "-", "-0", "-5", "0-", "bytes=0-1", "bytes=0-1,2-3", "bytes=-0",
    "bytes 0-4/5", "items=0-1", "bytes=" + "0-," * 80, "bytes=0-" + "9" * 30, "bytes=٠-٣", "0-" + "9" * 18, "", "bytes", "bytes=1-0",
    "bytes=" + ",".join(f"{n}-{n}" for n in range(4000)),
)  # fmt: skip
_HOSTS = (
    "localhost", "127.0.0.1", "[::1]", "localhost:5050", "LOCALHOST.", "0.0.0.0", "[::]", "evil.example", "", " ", "localhost:x",
    "localhost@evil.example", "localhost, evil.example", "\xe9", "127.1", "x" * 1000, "[::1", "]", ":", ":80", "[", "::1", "[]:1",
    "1" * 5000, "127.0.0.1.", "[::ffff:0.0.0.0]", "[fe80::1%25eth0]", "[::1]]", "٣.0.0.1",
)  # fmt: skip
_HEADERS: dict[str, tuple[str, ...]] = {
    "Host": _HOSTS,
    "Origin": (
        "null",
        "http://localhost",
        "http://evil.example",
        "",
        "http://[",
        "://",
        "http://localhost:0",
        "\xe9",
        "file://",
    ),
    "Sec-Fetch-Site": ("cross-site", "same-origin", "none", "same-site", "", "\xe9"),
    "Range": _RANGES,
    "Content-Range": _RANGES,
    "Content-Length": _INTEGERS,
    "Transfer-Encoding": ("chunked", "Chunked", "identity", "gzip, chunked", "chunked, chunked", "xchunked", ""),
    "Content-Type": _TYPES,
    "Accept": (*_TYPES, "a/b;q=" + "9" * 400, ",,,", "*/*;q=0", ";", "a/b" + ",a/b" * 3000, "*"),
    "If-None-Match": ("*", f'"{DIGEST}"', "W/" * 500, '"', ",", "x" * 9000, '"\xe9"'),
    "If-Match": ("*", f'"{DIGEST}"', '"nothing"', ""),
    "If-Range": (f'"{DIGEST}"', "Wed, 21 Oct 2015 07:28:00 GMT", "\xe9"),
    "Expect": ("100-continue", "200-ok", ""),
    "Connection": ("keep-alive", "close, Upgrade", "Content-Length", ""),
    "Upgrade": ("h2c", "websocket", ""),
    "Authorization": ("Basic ", "Bearer \xe9", "Basic " + "A" * 9000, "\xff"),
    "Docker-Upload-UUID": ("..", "\xe9"),
    "X-Forwarded-Host": ("evil.example",),
    "X-Forwarded-Prefix": ("/../..",),
    "X-HTTP-Method-Override": ("DELETE",),
    "X-Original-URL": ("/v2/_catalog",),
}
_NAMES = (
    "fuzz/app",
    "up/app",
    "fuzz/app",
    "fuzz/con",
    "up/nul.json/aux",
    "up/a__b/c--d",
    "fuzz/" + "x" * 120,
    "fuzz/x.type",
)
_SHAPES = (
    b"/v2/%b/manifests/%b", b"/v2/%b/manifests/%b", b"/v2/%b/manifests/%b", b"/v2/%b/blobs/%b", b"/v2/%b/blobs/uploads/%b",
    b"/v2/%b/referrers/%b", b"/v2/%b/blobs/uploads/", b"/v2/%b/blobs/uploads", b"/v2/%b/tags/list", b"/v2/_catalog", b"/v2/",
    b"/up/v2/%b/manifests/%b", b"/v2/%b", b"/%b/v2/%b", b"/v2/%b/%b", b"//v2/%b", b"/v2//%b/manifests/%b", b"/api/v1/%b",
    b"/metrics", b"/healthz", b"http://localhost/v2/%b/manifests/%b", b"/V2/%b", b"/v2/%b/manifests/%b/", b"/v2/./%b/../%b", b"/%b",
)  # fmt: skip
_TAGS = ("v1", "latest", "V1", "1.0", "con", "nul.json", "sha256_" + _HEX, f"sha256-{_HEX}", DIGEST, "t" * 128, "x.")
_DIGESTS = (DIGEST, DIGEST, "sha256:" + "0" * 64, "sha512:" + hashlib.sha512(BLOB).hexdigest())
_UPLOADS = ()
"""Stands for the ids of sessions that there are."""

_OPERATIONS: tuple[tuple[bytes, bytes, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (b"PUT", b"/v2/%b/manifests/%b", _TAGS, ("Content-Type", "If-Match"), ("tag", "ns")),
    (b"PUT", b"/v2/%b/manifests/%b", _TAGS, (), ()),
    (b"GET", b"/v2/%b/manifests/%b", _TAGS, ("Accept", "If-None-Match"), ("ns",)),
    (b"HEAD", b"/v2/%b/manifests/%b", _TAGS, ("Accept", "If-None-Match"), ()),
    (b"DELETE", b"/v2/%b/manifests/%b", _TAGS, (), ()),
    (b"POST", b"/v2/%b/blobs/uploads/", _TAGS, ("Content-Range",), ("digest", "mount", "from", "digest-algorithm")),
    (b"PATCH", b"/v2/%b/blobs/uploads/%b", _UPLOADS, ("Content-Range", "Transfer-Encoding", "Expect"), ()),
    (b"PATCH", b"/v2/%b/blobs/uploads/%b", _UPLOADS, ("Content-Range",), ()),
    (b"PUT", b"/v2/%b/blobs/uploads/%b", _UPLOADS, ("Content-Range",), ("digest",)),
    (b"GET", b"/v2/%b/blobs/uploads/%b", _UPLOADS, (), ()),
    (b"DELETE", b"/v2/%b/blobs/uploads/%b", _UPLOADS, (), ()),
    (b"GET", b"/v2/%b/blobs/%b", _DIGESTS, ("Range", "If-Range", "If-None-Match"), ("ns",)),
    (b"HEAD", b"/v2/%b/blobs/%b", _DIGESTS, ("Range",), ()),
    (b"DELETE", b"/v2/%b/blobs/%b", _DIGESTS, (), ()),
    (b"GET", b"/v2/%b/tags/list", (), (), ("n", "last")),
    (b"GET", b"/v2/_catalog", (), (), ("n", "last")),
    (b"GET", b"/v2/%b/referrers/%b", _DIGESTS, ("Accept",), ("artifactType", "ns")),
)
"""What clients do: method, path, what is named, and the headers and parameters that are heeded there."""

_SPECIAL = b"/%.\\:?#;\0\r\n \x7f\xff"
_SCRAPS: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "\0", "\ud800", "\r\n", "\u202e", [], {}, [[]], {"": None},
    {"a": "b"}, {"a": 1}, "x" * 70_000, ["a"] * 50, {"org.opencontainers.image.ref.name": "../.."}, DIGEST,
)  # fmt: skip


class OddRequest:
    """One request, or what is to be one. uploads: ids of sessions that there are."""

    def __init__(self, choices: bytes, uploads: Sequence[str]) -> None:
        self._choices = choices
        self._next = 0
        self._uploads = tuple(uploads)
        # Half of them have one thing or two that is odd, so that they come far before they fail, or are even taken.
        self._tame = self._number() % 2 == 0

    def octets(self) -> bytes:
        """All of what goes over the connection."""
        if self._one_in(40):
            return self._rest()
        if self._tame:
            method, target, names = self._operation()
        else:
            method = self._pick(METHODS if not self._one_in(12) else ODD_METHODS)
            target = self._path() + self._query()
            names = [self._pick(tuple(_HEADERS)) for _ in range(self._pick((0, 1, 1, 2, 3)))]
        body = self._body() if method in (b"PUT", b"POST", b"PATCH") or self._one_in(12) else b""
        version = b"HTTP/1.1" if not self._one_in(40) else self._pick((b"HTTP/1.0", b"HTTP/3", b"HTTP/0.9", b""))
        lines = [b" ".join((method, target, version))]
        if "Host" not in names:
            lines.append(b"Host: localhost")
        lines += [_octets(name) + b": " + _octets(self._known_or_made(_HEADERS[name])) for name in names]
        if self._one_in(40):
            lines.append(self._some(30))
        if "Connection" not in names:
            lines.append(b"Connection: close")
        if "Transfer-Encoding" in names or self._one_in(12):
            lines += [b"Transfer-Encoding: chunked"] if "Transfer-Encoding" not in names else []
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif "Content-Length" not in names and body:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])

    def _operation(self) -> tuple[bytes, bytes, list[str]]:
        method, shape, known, headers, keys = self._pick(_OPERATIONS)
        names = [name for name in headers if self._number() % 2]
        asked = [key for key in keys if self._number() % 2]
        reference = self._escaped(self._known_or_made(known or self._uploads))
        # A session is known to its own repository alone, and most of them are this one's.
        name = self._pick(_NAMES) if known or self._one_in(2) else _NAMES[0]
        target = shape % (_octets(name), reference)[: shape.count(b"%b")]
        return method, target + self._with(asked), names

    # Choices: where there are none left, the first of what there is.

    def _number(self) -> int:
        self._next += 1
        return self._choices[self._next - 1] if self._next <= len(self._choices) else 0

    def _pick(self, options: Sequence[T]) -> T:
        return options[(self._number() * 256 + self._number() if len(options) > 255 else self._number()) % len(options)]

    def _one_in(self, times: int) -> bool:
        return self._number() % (times * 5 if self._tame else times) == times - 1

    def _some(self, most: int) -> bytes:
        length = self._number() % (most + 1)
        start, self._next = self._next, self._next + length
        return self._choices[start : self._next]

    def _rest(self) -> bytes:
        return self._choices[self._next :]

    def _known_or_made(self, known: Sequence[str]) -> str:
        return self._pick(known) if not self._one_in(8) else self._some(20).decode("utf-8", "surrogateescape")

    # The parts

    def _path(self) -> bytes:
        if self._one_in(30):
            return b"/" + self._some(60)
        name = _octets(self._pick(_NAMES))
        if self._one_in(3):
            components = [self._escaped(self._known_or_made(_COMPONENTS)) for _ in range(1 + self._number() % 4)]
            name = b"/".join(components)
        reference = self._escaped(self._known_or_made((*_REFERENCES, *self._uploads)))
        shape = self._pick(_SHAPES)
        return shape % (name, reference)[: shape.count(b"%b")]

    def _query(self) -> bytes:
        if not self._one_in(3):
            return b""
        if self._one_in(10):
            return b"?" + self._some(40)
        return self._with([self._pick(tuple(_QUERIES)) for _ in range(1 + self._number() % 3)])

    def _with(self, keys: Sequence[str]) -> bytes:
        pairs = [_octets(key) + b"=" + self._escaped(self._known_or_made(_QUERIES[key])) for key in keys]
        return b"?" + b"&".join(pairs) if pairs else b""

    def _escaped(self, text: str) -> bytes:
        """The text as it is, or with some of it (or all, or twice) percent-encoded."""
        plain = _octets(text)
        if not self._one_in(4):
            return plain
        how = self._pick(("special", "all", "twice", "lower", "slashes", "overlong"))
        if how == "slashes":
            return plain.replace(b"/", b"\\")
        if how == "overlong":
            return plain.replace(b"/", b"%c0%af").replace(b".", b"%c0%ae")
        form = {"twice": b"%%25%02X", "lower": b"%%%02x"}.get(how, b"%%%02X")
        return b"".join(form % octet if how != "special" or octet in _SPECIAL else bytes([octet]) for octet in plain)

    def _body(self) -> bytes:
        kind = self._number() % (11 if self._tame else 8)
        if kind == 5:
            return BLOB
        if kind == 6:
            return b""
        if kind == 7:
            return self._some(200)
        text = json.dumps(self._manifest(), ensure_ascii=not self._one_in(2)).encode("utf-8", "surrogatepass")
        return text[: len(text) // 2] if self._one_in(30) else text

    def _manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = {"schemaVersion": 2 if not self._one_in(12) else self._pick(_SCRAPS)}
        if self._number() % 2:
            document |= {"config": self._descriptor(), "layers": self._descriptors()}
        else:
            document |= {"manifests": self._descriptors()}
        for key in ("mediaType", "artifactType"):
            if self._number() % 4 == 3:
                document[key] = self._pick(_TYPES) if not self._one_in(5) else self._pick(_SCRAPS)
        if self._one_in(4):
            document["subject"] = self._descriptor()
        for key in ("annotations", "anything", "manifests", "config"):
            if self._one_in(8):
                document[key] = self._pick(_SCRAPS)
        return document

    def _descriptors(self) -> Any:
        return [self._descriptor() for _ in range(self._number() % 3)] if not self._one_in(12) else self._pick(_SCRAPS)

    def _descriptor(self) -> Any:
        good: dict[str, Any] = {"mediaType": "a/b", "digest": DIGEST, "size": len(BLOB)}
        if not self._one_in(3):
            return good
        if self._one_in(6):
            return self._pick(_SCRAPS)
        for key, values in (("mediaType", _TYPES), ("digest", _REFERENCES), ("size", _SCRAPS)):
            if self._one_in(3):
                good[key] = self._pick(values)
        for key in ("annotations", "artifactType", "platform", "urls", "data"):
            if self._one_in(4):
                good[key] = self._pick(_SCRAPS)
        return good


def _octets(text: str) -> bytes:
    """As UTF-8; what is no text, and surrogates that stand for such bytes, as hostile programs write it."""
    return text.encode(
        "utf-8", "surrogateescape" if any("\udc80" <= each <= "\udcff" for each in text) else "surrogatepass"
    )
