"""registries.conf and its drop-in files, as Podman, Buildah and Skopeo read them (containers-registries.conf(5)).

The main file comes first, then the drop-in folders' *.conf, each folder by name. A later table replaces an earlier one of
the same prefix altogether. Shown with Podman 4.3 and Skopeo 1.9; Buildah shares the code.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yarddesk.engines.environment import EngineEnvironment
from yarddesk.engines.files import read, text_of
from yarddesk.engines.model import ConfigurationInvalid

Table = Mapping[str, Any]
"""A [[registry]] table."""

_HEADER: Final = re.compile(r"^\s*\[\[\s*registry\s*\]\]\s*(#.*)?$")
_OTHER_HEADER: Final = re.compile(r"^\s*\[(?!\[?\s*registry\s*\.)")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Places:
    """Which files count. main: registries.conf. folders: of the drop-in files, in the order in which they are read."""

    main: Path
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, environment: EngineEnvironment) -> "Places":
        """A registries.conf of the user's makes older versions leave the system's files unread."""
        system = environment.etc / "containers"
        user = environment.home / ".config/containers"
        both = (system / "registries.conf.d", user / "registries.conf.d")
        variables = ("CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH")
        chosen = next((environment.environ[name] for name in variables if environment.environ.get(name)), "")
        if chosen:
            return cls(Path(chosen), both)
        if (user / "registries.conf").exists():
            return cls(user / "registries.conf", (user / "registries.conf.d",))
        return cls(system / "registries.conf", both)

    def drop_in(self, environment: EngineEnvironment, name: str) -> Path:
        """Where a drop-in file of ours belongs: with the system's for root, else with the user's."""
        folder = self.folders[0] if environment.user == 0 else self.folders[-1]
        return folder / name

    def files(self) -> tuple[Path, ...]:
        """All files that are there, in the order in which they are read. Raises ConfigurationInvalid."""
        found = [self.main] if self.main.exists() else []
        for folder in self.folders:
            try:
                names = sorted(name for name in os.listdir(folder) if name.endswith(".conf"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigurationInvalid(f"{folder} can't be read.", f"{error.strerror or error}.") from error
            found += [folder / name for name in names if not (folder / name).is_dir()]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Placed:
    """A table, and the file that has it."""

    file: Path
    table: Table


def tables_of(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The [[registry]] tables of a file, those of the old format (v1) among them as v2 would say them.

    Raises ConfigurationInvalid, naming file and line.
    """
    try:
        document = tomllib.loads(text_of(path, content))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(
            f"{path} is not valid TOML.",
            f"{error}.",
            hint="The engine can't read it either: correct it, then try again.",
        ) from None
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationInvalid(f"{path} is not as it should be.", "“registry” must be tables: [[registry]].")
    old = document.get("registries", {})
    if not isinstance(old, dict):
        raise ConfigurationInvalid(f"{path} is not as it should be.", "“registries” must be a table.")
    if old and tables:
        raise ConfigurationInvalid(
            f"{path} mixes the old format (v1) with the new one.",
            "The engine refuses such a file.",
            hint="Write what stands under [registries.…] as [[registry]] tables.",
        )
    return tables or [{"location": name, "insecure": True} for name in _old_insecure(old)]


def _old_insecure(old: Mapping[str, Any]) -> list[str]:
    section = old.get("insecure", {})
    names = section.get("registries", []) if isinstance(section, dict) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def prefix_of(table: Table) -> str:
    """What a table is for."""
    return str(table.get("prefix") or table.get("location") or "")


def placed_tables(files: Sequence[Path], instead: Mapping[Path, bytes | None]) -> list[Placed]:
    """All tables in the order in which they are read; `instead`: what a file is taken to hold, None for no such file.

    Raises ConfigurationInvalid.
    """
    placed: list[Placed] = []
    for file in files:
        content = instead[file] if file in instead else read(file)
        if content is not None:
            placed += [Placed(file, table) for table in tables_of(file, content)]
    return placed


def takes_plain_http(table: Table, name: str) -> bool:
    """Whether a table lets pushes and pulls of a name reach that very address, over plain HTTP too."""
    location = str(table.get("location") or name)
    return table.get("insecure") is True and table.get("blocked") is not True and location == name


def render(table: Table) -> str:
    """A [[registry]] table as TOML, its mirrors below it."""
    plain = {key: value for key, value in table.items() if not _is_tables(value)}
    lines = ["[[registry]]", *(f"{_key(key)} = {_value(value)}" for key, value in plain.items())]
    for key, value in table.items():
        if _is_tables(value):
            for each in value:
                lines += ["", f"[[registry.{_key(key)}]]", *(f"{_key(k)} = {_value(v)}" for k, v in each.items())]
    return "\n".join(lines) + "\n"


def remove_tables(text: str, ours: Sequence[Table]) -> str | None:
    """The text without those very tables; None where that can't be done by leaving out their lines alone."""
    wanted = [table for table in _tables(text) if table not in ours]
    lines = text.splitlines(keepends=True)
    kept: list[str] = []
    position = 0
    while position < len(lines):
        end = _end_of_table(lines, position) if _HEADER.match(lines[position].rstrip("\r\n")) else position + 1
        part = "".join(lines[position:end])
        if not any(table in ours for table in _tables(part)):
            kept.append(part)
        position = end
    left = "".join(kept)
    return left if _tables(left) == wanted else None


def _end_of_table(lines: Sequence[str], start: int) -> int:
    """Where the table ends whose header stands at `start`; comments and blank lines before the next header are the next's."""
    end = start + 1
    while end < len(lines) and not _HEADER.match(lines[end].rstrip("\r\n")) and not _OTHER_HEADER.match(lines[end]):
        end += 1
    if end == len(lines):
        return end
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _tables(text: str) -> list[Any]:
    try:
        return list(tomllib.loads(text).get("registry", []))
    except tomllib.TOMLDecodeError:
        return []


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return _string(str(value))


def _string(text: str) -> str:
    """A basic string of TOML 1.0; what JSON escapes, TOML reads alike, and DEL must be escaped besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
