"""What an upstream said, made fit for people: no secrets, no control characters, not too long."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from yarddesk.oci.error_codes import ErrorInfo, parse_errors
from yarddesk.upstream.secret_forms import forms_of

MAX_WORDS: Final = 400
_LEAST_SIGNATURE: Final = 16
"""Characters: what is shorter is no secret, and may be a word."""

_LEAST_SECRET: Final = 4
"""Shorter ones stand in other words by chance."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_SECRETS = (
    re.compile(r"\b(Bearer|Basic)[ \t]+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
    re.compile(r"(?<=\?)[^\s\"'<>]+"),
)


def said(body: bytes, content_type: str, secrets: Iterable[str] = ()) -> tuple[str, tuple[ErrorInfo, ...]]:
    """The words of an error's body, and the errors in the specification's form where it has that."""
    errors = parse_errors(body)
    if errors:
        texts = (_one(error) for error in errors[:3])
        return clean("; ".join(texts), secrets), errors
    if is_page(content_type, body):
        return "It answered with a web page.", ()
    return clean(body[: MAX_WORDS * 4].decode(errors="replace"), secrets), ()


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """One line without control characters, known secrets in any form and what looks like one; MAX_WORDS characters at most."""
    text = masked(text, forms_of(secrets))
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"


def masked(text: str, forms: Iterable[str] = ()) -> str:
    """Without these forms of known secrets (see forms_of) and what looks like one."""
    for form in forms:
        if len(form) >= _LEAST_SECRET:
            text = text.replace(form, "***")
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    return text


def signatures(query: str) -> set[str]:
    """What in an address opens it to whoever has it: storage hosts repeat that when they refuse it."""
    values = [parameter.partition("=")[2] for parameter in query.split("&")]
    return {text for value in values for text in (value, unquote(value)) if len(text) >= _LEAST_SIGNATURE}


def is_page(content_type: str, start: bytes = b"") -> bool:
    """Whether an answer is a web page: what a login portal or a proxy says in the registry's place."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or start[:256].lstrip().lower().startswith(
        (b"<!doctype", b"<html")
    )


def _one(error: ErrorInfo) -> str:
    detail = error.detail if isinstance(error.detail, str) else ""
    message = ", ".join(part for part in (error.message, detail) if part)
    return f"{message} ({error.code})" if message else error.code
