"""Entries of a list put into, and taken out of, a YAML text by whole lines: all that isn't theirs stays as it was written."""

import re
from collections.abc import Sequence
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


def with_entries(text: str, root: MappingNode | None, key: str, entries: Sequence[str]) -> str | None:
    """The text with entries at the end of the list `key`, which is made where there is none.

    `root`: the text, composed. `entries`: each in YAML's lines, as they stand to the right of the dash.
    None where the text doesn't lend itself to that.
    """
    lines = _LINE.findall(text)
    key_node, listed = _pair(root, key)
    if key_node is None:
        after, column, head = len(lines), 2, f"{key}:\n"
    elif isinstance(listed, SequenceNode) and not listed.flow_style:
        after, column, head = _last_line(lines, listed) + 1, listed.start_mark.column, ""
    else:
        return None
    added = head + "".join(_with_dash(entry, column) for entry in entries)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if after and not lines[after - 1].endswith(("\r", "\n")):
        lines[after - 1] += newline
    return "".join((*lines[:after], added.replace("\n", newline), *lines[after:]))


def without_entry(text: str, root: MappingNode | None, key: str, index: int) -> str | None:
    """The text without that entry of the list `key`; a comment above it stays. None as above."""
    key_node, listed = _pair(root, key)
    if not isinstance(listed, SequenceNode) or listed.flow_style:
        return None
    lines = _LINE.findall(text)
    first = _dash_line(lines, listed, index)
    if first is None:
        return None
    rest = [*lines[:first], *lines[_last_line(lines, listed.value[index]) + 1 :]]
    if len(listed.value) == 1:
        number, end = _after_colon(lines, key_node)
        rest[number] = f"{lines[number][:end]} []{lines[number][end:]}"
    return "".join(rest)


def _pair(root: MappingNode | None, key: str) -> tuple[Any, Any]:
    """Key and value, as nodes."""
    pairs = root.value if isinstance(root, MappingNode) else ()
    return next(((name, value) for name, value in pairs if name.value == key), (None, None))


def _with_dash(entry: str, column: int) -> str:
    indented = "".join(f"{' ' * (column + 2)}{line}\n" for line in entry.splitlines())
    return f"{' ' * column}- {indented[column + 2 :]}"


def _after_colon(lines: Sequence[str], key: ScalarNode) -> tuple[int, int]:
    """Line and column; below the key where that has a "?" before it."""
    number, column = key.end_mark.line, key.end_mark.column
    while (colon := lines[number].partition("#")[0].find(":", column)) < 0:
        number, column = number + 1, 0
    return number, colon + 1


def _dash_line(lines: Sequence[str], listed: SequenceNode, index: int) -> int | None:
    """Where the entry begins; None for an alias, which is another place's node."""
    column, start = listed.start_mark.column, listed.value[index].start_mark.line
    for number in range(start, listed.start_mark.line - 1, -1):
        if not lines[number][:column].strip() and lines[number][column : column + 1] == "-":
            return number
    return None


def _last_line(lines: Sequence[str], node: Any) -> int:  # noqa: ANN401 - ruamel.yaml's own types are not complete
    """The last line that is the node's own: a block's mark stands after the comments and empty lines that follow it."""
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):
        ends = range(node.end_mark.line - 1, node.start_mark.line, -1)
        return next((number for number in ends if lines[number].strip()), int(node.start_mark.line))
    if isinstance(node, ScalarNode) or node.flow_style:
        return int(node.end_mark.line)
    if isinstance(node, SequenceNode):
        return max(_last_line(lines, entry) for entry in node.value)
    # The mark of a value that isn't there stands elsewhere.
    return max(
        _last_line(lines, part) for pair in node.value for part in pair if part.value or part.style or part is pair[0]
    )
