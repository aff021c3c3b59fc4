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
from ruamel.yaml.nodes import MappingNode

from yarddesk.errors import YarddeskError
from yarddesk.settings.errors import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_DUPLICATE = re.compile(r"found duplicate key (\S+)")
_QUOTED_VALUE = re.compile(r"\s*\(?with value .*", re.DOTALL)
_MAX_BYTES: Final = 1024 * 1024

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
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise SettingsError(f"{path}:1", "", "the settings must be keys with values")
    return document


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
