"""WWW-Authenticate challenges (RFC 9110, 11.3; Docker's token authentication specification)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*', re.ASCII)
_SCHEME = re.compile(rf"\s*({_TOKEN})(?:\s+|\s*,|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A scheme in lower case (`basic`, `bearer`) and its parameters, names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of one header, in order; what can't be read ends the list."""
    challenges: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            position = parameter.end()
            if position >= len(header) or header[position] != ",":
                break
            position += 1
        challenges.append(Challenge(match[1].lower(), parameters))
        while position < len(header) and header[position] in ", ":
            position += 1
    return tuple(challenges)
