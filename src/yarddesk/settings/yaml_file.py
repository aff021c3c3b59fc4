"""The YAML file: read with the line of each key, changed with its comments kept."""

import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from yarddesk.errors import YarddeskError
from yarddesk.settings.errors import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_DUPLICATE = re.compile(r"found duplicate key (\S+)")
_QUOTED_VALUE = re.compile(r"\s*\(?with value .*", re.DOTALL)
_MAX_BYTES: Final = 1024 * 1024
_MOST_VALUES: Final = 100_000
_MOST_LEVELS: Final = 50
_TOO_DEEP: Final = f"what stands here is more than {_MOST_LEVELS} levels deep"
_UNUSABLE = re.compile(r"[\0\ud800-\udfff]")
"""What escapes can put into a text, and no file name, address or message can hold."""

Splice = Callable[[str, MappingNode | None], str | None]
"""From a text, and the same composed, to the changed text, or None where that can't be done so."""


def read_document(path: Path) -> CommentedMap:
    """The file's top level, empty for an empty file. Raises SettingsError; FileNotFoundError where there is none."""
    return _parse(_read_text(path), path)


def _read_text(path: Path) -> str:
    with path.open("rb") as stream:
        raw = stream.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise SettingsError(str(path), "", f"the file has more than {_MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), "", "the file is not UTF-8 text") from error


def _parse(text: str, path: Path) -> CommentedMap:
    try:
        document = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SettingsError(where, "", _without_values(error)) from None  # its text quotes the file, passwords and all
    except YAMLError:
        raise SettingsError(str(path), "", "the file is not valid YAML") from None
    except RecursionError:
        raise SettingsError(str(path), "", _TOO_DEEP) from None
    except Exception:  # noqa: BLE001 - Python's own, of many kinds: a day that there isn't, a number of thousands of digits
        line, key = _place_of_unreadable(text)
        reason = "the value is not what it looks like; if it's a text, put it in quotes"
        raise SettingsError(f"{path}:{line}", key, reason) from None
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise SettingsError(f"{path}:1", "", "the settings must be keys with values")
    _refuse_unusable(document, path)
    return document


def _place_of_unreadable(text: str) -> tuple[int, str]:
    """Line and key of the value that Python can't make anything of."""
    yaml = _yaml()
    left: list[tuple[Any, str]] = [(yaml.compose(text), "")]
    while left:
        node, key = left.pop()
        if isinstance(node, MappingNode):
            for name, value in reversed(node.value):
                left += [(value, _below(key, name.value)), (name, key)]
        elif isinstance(node, SequenceNode):
            left += [(entry, f"{key}[{index}]") for index, entry in reversed(list(enumerate(node.value)))]
        else:
            try:
                yaml.constructor.construct_object(node)
            except Exception:  # noqa: BLE001 - as above: it's this one
                return node.start_mark.line + 1, key
    return 1, ""


def _refuse_unusable(document: CommentedMap, path: Path) -> None:
    """Aliases can make a few lines endless, and escapes a text that nothing could hold."""
    left: list[tuple[Any, int, int, str]] = [(document, 0, 1, "")]
    count = 0
    while left:
        node, level, line, key = left.pop()
        count += 1
        reason = ""
        if level > _MOST_LEVELS:
            key, reason = "", _TOO_DEEP
        elif count > _MOST_VALUES:
            key, reason = "", f"these are more than {_MOST_VALUES:,} values, with what aliases repeat"
        elif isinstance(node, str) and _UNUSABLE.search(node):
            reason = "a text can't hold such a character"
        if reason:
            raise SettingsError(f"{path}:{line}", key, reason)
        if isinstance(node, CommentedMap):
            for name, value in node.items():
                place = line_of(node, name) or line
                left += [(name, level + 1, place, key), (value, level + 1, place, _below(key, name))]
        elif isinstance(node, CommentedSeq):
            left += [(each, level + 1, line_of(node, at) or line, f"{key}[{at}]") for at, each in enumerate(node)]


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _without_values(error: MarkedYAMLError) -> str:
    """What is wrong, without what the file says: there may be a password beside it."""
    words = error.problem or error.context or "not valid YAML"
    duplicate = _DUPLICATE.match(words)
    if duplicate:
        return f"the key {duplicate[1]} stands there twice"
    return _QUOTED_VALUE.sub("", words)


def line_of(node: object, key: object) -> int | None:
    """The line, from 1, where `key` of a mapping or an entry of a list stands."""
    if isinstance(node, CommentedMap):
        position = node.lc.data.get(key) if node.lc.data else None
        return position[0] + 1 if position else None
    if isinstance(node, CommentedSeq) and isinstance(key, int):
        position = node.lc.data.get(key) if node.lc.data else None
        return position[0] + 1 if position else None
    return None


def expand(value: str, environ: Mapping[str, str]) -> str:
    """`${VAR}` replaced by that variable; where it is unset it stays as written."""
    return _VARIABLE.sub(lambda match: environ.get(match[1], match[0]), value)


def variables_in(node: object) -> Iterator[str]:
    """The variables that `${VAR}` in the strings of a document names."""
    if isinstance(node, str):
        yield from _VARIABLE.findall(node)
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from variables_in(value)
    elif isinstance(node, Sequence):
        for entry in node:
            yield from variables_in(entry)


def is_variable(text: str) -> bool:
    """Whether it is `${VAR}` and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def edit_document(path: Path, change: Callable[[CommentedMap], None], splice: Splice) -> None:
    """Change the file in place; what is there at any moment is whole.

    `change` makes the document what it should say. `splice` gives the text that says so with all else as it was written, or None:
    then it is written anew, with comments, order and quoting kept as far as can be.
    Where there is no file, one is made, with its folder. Raises SettingsError, and another YarddeskError where it can't be written.
    """
    path = path.resolve()
    try:
        before = _read_text(path)
    except FileNotFoundError:
        before = ""
    document = _parse(before, path)
    change(document)
    after = splice(before, _yaml().compose(before))
    if after is None or not _says(after, document):
        after = dumped(document)
        if not _says(after, document):
            raise SettingsError(
                str(path), "", "the file can't be changed with its comments kept", hint="Change it by hand."
            )
    try:
        _replace(path, after)
    except OSError as error:
        hint = "Look at whose the file is, and whether its folder can be written to."
        raise YarddeskError(f"{path} can't be written.", error.strerror or str(error), hint=hint) from error


def dumped(node: CommentedMap | CommentedSeq) -> str:
    text = io.StringIO()
    _yaml().dump(node, text)
    return text.getvalue()


def _says(text: str, document: CommentedMap) -> bool:
    try:
        return bool(_yaml().load(text) == document)
    except YAMLError:
        return False


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _yaml() -> Any:  # noqa: ANN401 - ruamel.yaml's own types are not complete
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    return yaml
