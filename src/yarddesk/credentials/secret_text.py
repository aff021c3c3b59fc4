"""A credential as the text that a keychain keeps, in parts where it's too long for one entry.

Windows keeps 2,560 bytes of UTF-16 an entry, and a Google service account's key has more.
"""

import json
import secrets
from collections.abc import Callable
from typing import Final

from yarddesk.content.credentials import Credential, Secret

MAX_PART: Final = 1200
"""UTF-16 units in one entry."""


def to_parts(
    credential: Credential, new_id: Callable[[], str] = lambda: secrets.token_hex(8)
) -> tuple[str, dict[str, str]]:
    """The first entry's text, and the further entries by the suffix of their name."""
    # Plain ASCII, so that a part's length in characters is its length in UTF-16 units.
    text = json.dumps({"username": credential.username, "password": credential.password.reveal()}, ensure_ascii=True)
    if len(text) <= MAX_PART:
        return text, {}
    pieces = [text[start : start + MAX_PART] for start in range(0, len(text), MAX_PART)]
    names = part_names(new_id(), len(pieces))
    head = json.dumps({"parts": len(pieces), "id": names[0].rpartition(".")[0]})
    return head, dict(zip(names, pieces, strict=True))


def part_names(part_id: str, count: int) -> list[str]:
    """The suffixes of an entry's further parts."""
    return [f"{part_id}.{number}" for number in range(count)]


def parts_of(text: str) -> list[str]:
    """The suffixes that the first entry's text names; none where it's whole."""
    document = _document(text)
    count, part_id = document.get("parts"), document.get("id")
    if isinstance(count, int) and 0 < count < 1000 and isinstance(part_id, str):
        return part_names(part_id, count)
    return []


def from_text(text: str) -> Credential | None:
    """None for what is not one of our entries."""
    document = _document(text)
    username, password = document.get("username"), document.get("password")
    if not isinstance(username, str) or not isinstance(password, str) or not password:
        return None
    return Credential(username, Secret(password))


def _document(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
