"""Adding to lists of a JSON object, and taking out again, with every other character of its text left alone."""

import json
from dataclasses import dataclass
from typing import Any, Final

from yarddesk.engines.edits import Insertion

_BLANK: Final = " \t\r\n"
_decoder: Final = json.JSONDecoder()


class NotAnObject(ValueError):
    """The text is JSON, but no object; or a key holds no list of strings."""


@dataclass(frozen=True, slots=True)
class _Span:
    """start and end of something in the text; for a member of an object, value is where its value begins."""

    start: int
    end: int
    value: int
    key: str = ""


def read_object(text: str) -> dict[str, Any]:
    """The object; empty for a blank text. Raises json.JSONDecodeError, NotAnObject."""
    body = text.removeprefix("\ufeff")
    if not body.strip(_BLANK):
        return {}
    found = json.loads(body)
    if not isinstance(found, dict):
        raise NotAnObject("the file must hold an object: { … }")
    return found


def read_list(found: dict[str, Any], key: str) -> list[str]:
    """The strings under a key, none where it is missing. Raises NotAnObject."""
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise NotAnObject(f"“{key}” must be a list of strings")
    return list(value)


def add_to_list(text: str, key: str, value: str, *, first: bool = False) -> Insertion:
    """Put a string into the list under a key of the object, at its end or first; the key is added where it is missing.

    Raises json.JSONDecodeError, NotAnObject.
    """
    quoted = json.dumps(value, ensure_ascii=False)
    found = read_object(text)
    if key not in found:
        return add_key(text, key, f"[{quoted}]")
    read_list(found, key)
    member = _member(text, key)
    elements = _elements(text, member.value)
    opening = member.value + 1
    if not elements:
        return Insertion(opening, quoted)
    if first:
        gap = text[opening : elements[0].start]
        return Insertion(elements[0].start, f"{quoted},{gap or ' '}")
    before = elements[-2].end if len(elements) > 1 else opening
    gap = text[before : elements[-1].start].replace(",", "", 1)
    return Insertion(elements[-1].end, f",{gap or ' '}{quoted}")


def add_key(text: str, key: str, value: str) -> Insertion:
    """Put a member, its value as JSON, at the object's end, laid out as its neighbours are."""
    quoted = json.dumps(key)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not text.strip(_BLANK + "\ufeff"):
        return Insertion(len(text), f"{{{newline}  {quoted}: {value}{newline}}}{newline}")
    opening, members = _members(text)
    if not members:
        closing = "" if "\n" in text[opening : text.index("}", opening)] else newline
        return Insertion(opening, f"{newline}  {quoted}: {value}{closing}")
    last = members[-1]
    before = members[-2].end if len(members) > 1 else opening
    gap = text[before : last.start].replace(",", "", 1)
    colon = text[last.start + len(_raw_key(text, last)) : last.value]
    if not gap and colon != ":":
        gap = " "
    return Insertion(last.end, f",{gap}{quoted}{colon}{value}")


def remove_from_list(text: str, key: str, value: str) -> str:
    """The text without that string in that list; unchanged where it isn't there."""
    if value not in read_list(read_object(text), key):
        return text
    elements = _elements(text, _member(text, key).value)
    number = next(i for i, each in enumerate(elements) if json.loads(text[each.start : each.end]) == value)
    return _cut(text, elements, number)


def remove_key(text: str, key: str) -> str:
    """The text without that member; unchanged where it isn't there."""
    if key not in read_object(text):
        return text
    _, members = _members(text)
    number = max(i for i, each in enumerate(members) if each.key == key)
    return _cut(text, members, number)


def _cut(text: str, spans: list[_Span], number: int) -> str:
    """Without one of several spans, and without the comma that parted it."""
    if number + 1 < len(spans):
        return text[: spans[number].start] + text[spans[number + 1].start :]
    if number > 0:
        return text[: spans[number - 1].end] + text[spans[number].end :]
    opening = len(text[: spans[0].start].rstrip(_BLANK))
    closing = len(text) - len(text[spans[0].end :].lstrip(_BLANK))
    return text[:opening] + text[closing:]


def _member(text: str, key: str) -> _Span:
    """The last member of that key, which is the one that counts."""
    _, members = _members(text)
    return next(each for each in reversed(members) if each.key == key)


def _members(text: str) -> tuple[int, list[_Span]]:
    """Where the object's inside begins, and its members; the text is known to be a JSON object."""
    opening = text.index("{") + 1
    members: list[_Span] = []
    position = _skip(text, opening)
    while text[position] != "}":
        key, after_key = _decoder.raw_decode(text, position)
        value = _skip(text, _skip(text, after_key) + 1)
        _, end = _decoder.raw_decode(text, value)
        members.append(_Span(position, end, value, key))
        position = _after_comma(text, end)
    return opening, members


def _elements(text: str, start: int) -> list[_Span]:
    elements: list[_Span] = []
    position = _skip(text, start + 1)
    while text[position] != "]":
        _, end = _decoder.raw_decode(text, position)
        elements.append(_Span(position, end, position))
        position = _after_comma(text, end)
    return elements


def _after_comma(text: str, end: int) -> int:
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


def _raw_key(text: str, member: _Span) -> str:
    _, end = _decoder.raw_decode(text, member.start)
    return text[member.start : end]


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position
