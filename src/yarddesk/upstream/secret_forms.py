"""The ways in which programs write a secret down when they quote it: pure."""

import base64
import html
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

_FOR_ADDRESSES: Final = bytes.maketrans(b"+/", b"-_")


def forms_of(secrets: Iterable[str]) -> list[str]:
    """All of them as they are, in an address, a form, JSON, a web page, and base64; longest first, since one may be a part of another."""
    return sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)


def in_base64(secret: str) -> str:
    """As in basic authentication, without the padding, which need not be there."""
    return _packed(secret).decode("ascii")


def _forms(secret: str) -> Iterable[str]:
    content = _bytes(secret)
    packed = _packed(secret)
    in_json = json.dumps(secret)[1:-1]
    yield secret
    yield from (quote(content), quote(content, safe=""), quote_plus(content))
    yield from (in_json, in_json.replace("/", "\\/"), json.dumps(secret, ensure_ascii=False)[1:-1])
    yield html.escape(secret)
    yield from (packed.decode("ascii"), packed.translate(_FOR_ADDRESSES).decode("ascii"))


def _packed(secret: str) -> bytes:
    return base64.b64encode(_bytes(secret)).rstrip(b"=")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # the environment's own bytes
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # YAML can write down halves of pairs
