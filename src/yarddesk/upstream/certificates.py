"""Who issued a certificate that is not trusted: what a person needs to know to decide whether it should be.

The TLS library doesn't hand out a certificate that it refused, so it's asked for once more, on a connection over which
nothing else is said; and the standard library reads no names from one, so the few bytes that matter are taken apart here
(X.690: a tag, a length, the content).
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Final

from yarddesk.content.threads import in_thread
from yarddesk.settings.model import TlsSettings
from yarddesk.upstream.tls import create_context
from yarddesk.upstream.words import clean

_SECONDS: Final = 2.0
_MOST: Final = 80
_VERSION: Final = 0xA0
_OIDS: Final = {b"\x55\x04\x03": "name", b"\x55\x04\x0a": "organization"}
_TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


async def issuer_at(host: str, port: int) -> str:
    """Who issued the certificate that is shown there, in words; empty where that can't be told within some seconds."""
    try:
        async with asyncio.timeout(_SECONDS):
            context = await in_thread(create_context, TlsSettings(verify=False))
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except (OSError, TimeoutError, ValueError):
        return ""
    try:
        shown = writer.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True) if isinstance(shown, ssl.SSLObject) else None
    finally:
        writer.transport.abort()
    return issuer_of(certificate or b"")


def issuer_of(certificate: bytes) -> str:
    """`“Corp Root CA” (Example Corporation)`, of a certificate in DER; empty where it names nobody, or is none."""
    try:
        names = _names(certificate)
    except (ValueError, IndexError):
        return ""
    name, organization = (clean(names.get(kind, ""))[:_MOST] for kind in ("name", "organization"))
    if not name:
        return organization
    return f"“{name}” ({organization})" if organization and organization != name else f"“{name}”"


def _names(certificate: bytes) -> dict[str, str]:
    (_, whole), *_ = _elements(certificate)
    (_, signed), *_ = _elements(whole)
    fields = [content for tag, content in _elements(signed) if tag != _VERSION]
    names: dict[str, str] = {}
    for _, relative in _elements(fields[2]):  # after the serial number and the way of signing
        for _, pair in _elements(relative):
            (_, oid), (tag, text) = _elements(pair)
            if oid in _OIDS and tag in _TEXTS:
                names.setdefault(_OIDS[oid], text.decode(_TEXTS[tag]))
    return names


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each that follows the other. Raises ValueError, IndexError where it isn't so."""
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(content[at : at + count], "big")
            at += count
        if at + length > len(content):
            raise ValueError("an element is longer than what holds it")
        yield tag, content[at : at + length]
        at += length
