"""Variables in compose files, and the `.env` beside one (compose specification, "Interpolation")."""

import re
from collections.abc import Mapping
from typing import Final

from yarddesk.errors import YarddeskError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATORS: Final = (":-", ":?", ":+", "-", "?", "+")
_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.ASCII | re.DOTALL)
_MOST_DEPTH: Final = 20


class UnsetVariable(YarddeskError):
    """A name depends on a variable that is not set."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables replaced: `$V`, `${V}`, `${V:-other}`, `${V:?why}`, `${V:+instead}`; `$$` is a dollar.

    Raises UnsetVariable where one is not set and has no default, and YarddeskError where it can't be read.
    """
    return _Reader(text, variables).read(0, "")[0]


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text = text
        self._variables = variables

    def read(self, position: int, end: str, depth: int = 0) -> tuple[str, int]:
        """What stands there up to `end` (or to the text's end), and where that is."""
        text = self._text
        found: list[str] = []
        if depth > _MOST_DEPTH:
            raise YarddeskError(f"“{text[:80]}” nests its variables too deep.")
        while position < len(text):
            character = text[position]
            if end and character == end:
                return "".join(found), position
            if character != "$":
                found.append(character)
                position += 1
                continue
            value, position = self._variable(position + 1, depth)
            found.append(value)
        if end:
            raise YarddeskError(f"“{text[:80]}” lacks a closing {end}.")
        return "".join(found), position

    def _variable(self, position: int, depth: int) -> tuple[str, int]:
        """What the dollar before `position` begins, and where it ends."""
        text = self._text
        if text.startswith("$", position):
            return "$", position + 1
        braced = text.startswith("{", position)
        match = _NAME.match(text, position + braced)
        if match is None:
            raise YarddeskError(f"“{text[:80]}” has a $ that begins no variable.", hint="A dollar itself is $$.")
        name, position = match[0], match.end()
        if not braced:
            return self._set(name), position
        operator = next((each for each in _OPERATORS if text.startswith(each, position)), "")
        other, position = self.read(position + len(operator), "}", depth + 1) if operator else ("", position)
        if not text.startswith("}", position):
            raise YarddeskError(f"“{text[:80]}” is not read: what follows {name} is no operator.")
        return self._with(name, operator, other), position + 1

    def _with(self, name: str, operator: str, other: str) -> str:
        value = self._variables.get(name)
        counts = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return other if counts else ""
        if counts and value is not None:
            return value
        if operator.endswith("-"):
            return other
        if operator.endswith("?"):
            raise UnsetVariable(f"{name} is not set: {other}" if other else f"{name} is not set.")
        return self._set(name)

    def _set(self, name: str) -> str:
        value = self._variables.get(name)
        if value is None:
            raise UnsetVariable(
                f"{name} is not set.", hint="Set it in the environment, or in the .env beside the file."
            )
        return value


def read_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `.env` file; what can't be read is left out. `environ` may be used in it, and wins elsewhere."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = None if line.lstrip().startswith("#") else _ASSIGNMENT.fullmatch(line)
        if match is None:
            continue
        value = match[2].strip()
        quote = value[:1] if value[:1] in ("'", '"') else ""
        closing = value.find(quote, 1) if quote else -1
        value = value[1:closing] if closing > 0 else re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        if quote != "'":
            try:
                value = interpolate(value, {**found, **environ})
            except YarddeskError:
                continue
        found[match[1]] = value
    return found
