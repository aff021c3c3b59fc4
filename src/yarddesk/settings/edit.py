"""Changes of the settings file that the app and the commands make: upstreams come and go, comments stay."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import MappingNode

from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import UPSTREAM_VARIABLE, load_settings, with_environment_upstream
from yarddesk.settings.model import UpstreamSettings
from yarddesk.settings.splice import with_entries, without_entry
from yarddesk.settings.upstreams import DEFAULT_UPSTREAMS, name_upstreams
from yarddesk.settings.yaml_file import dumped, edit_document

_LIST: Final = "upstreams"


def add_upstream(path: Path, upstream: UpstreamSettings, environ: Mapping[str, str]) -> UpstreamSettings:
    """Append an upstream to the file's list, made with the default list first where the file has none; as it's called there.

    Raises SettingsError where it is there already or the file can't be used as it stands; the file is then left alone.
    """
    present = _load(path, environ)
    for other in present:
        if other.route == upstream.route:
            raise SettingsError(
                str(path),
                "upstreams",
                f"{other.name} has that prefix, registry and path already",
                hint=f"Change it there, or remove it first: yarddesk upstream remove {other.name}",
            )
        if other.name == upstream.name and _entry(upstream).get("name"):
            raise SettingsError(str(path), "upstreams", f"“{upstream.name}” is the name of another upstream")

    added: list[CommentedMap] = []

    def append(document: CommentedMap) -> None:
        listed = document.get(_LIST)
        if not isinstance(listed, CommentedSeq):
            # The list replaces the defaults, so the defaults are written out for the user to keep or strike.
            added.extend([] if _LIST in document else map(_entry, DEFAULT_UPSTREAMS))
            listed = document[_LIST] = CommentedSeq(added)
        added.append(_entry(upstream))
        listed.append(added[-1])

    edit_document(path, append, lambda text, root: with_entries(text, root, _LIST, [dumped(entry) for entry in added]))
    return name_upstreams((*present, replace(upstream, name=_entry(upstream).get("name", ""))))[-1]


def remove_upstream(path: Path, name: str, environ: Mapping[str, str]) -> None:
    """Take the upstream of that name out of the file's list. Raises SettingsError where there is none."""
    present = _load(path, environ)
    index = next((position for position, upstream in enumerate(present) if upstream.name == name), None)
    if index is None:
        if any(upstream.name == name for upstream in with_environment_upstream(present, environ)):
            raise SettingsError(UPSTREAM_VARIABLE, "", f"“{name}” stands there, and in no file")
        known = ", ".join(upstream.name for upstream in present) or "none"
        raise SettingsError(str(path), "upstreams", f"there is no upstream “{name}”; there is: {known}")

    left: list[CommentedMap] = []

    def strike(document: CommentedMap) -> None:
        if _LIST not in document:
            left.extend(_entry(default) for default in DEFAULT_UPSTREAMS if default.name != name)
            document[_LIST] = CommentedSeq(left)
        else:
            del document[_LIST][index]

    def splice(text: str, root: MappingNode | None) -> str | None:
        if left:
            return with_entries(text, root, _LIST, [dumped(entry) for entry in left])
        return without_entry(text, root, _LIST, index)

    edit_document(path, strike, splice)


def _load(path: Path, environ: Mapping[str, str]) -> tuple[UpstreamSettings, ...]:
    without_ours = {name: value for name, value in environ.items() if not name.startswith("YARDDESK_")}
    if not path.exists():
        return DEFAULT_UPSTREAMS
    return load_settings(without_ours, file=path).settings.upstreams


def _entry(upstream: UpstreamSettings) -> CommentedMap:
    """What stands in the file: what differs from the defaults."""
    entry: dict[str, Any] = {}
    if upstream.name not in ("", upstream.prefix, upstream.registry):
        entry["name"] = upstream.name
    if upstream.prefix:
        entry["prefix"] = upstream.prefix
    entry["registry"] = upstream.registry
    if upstream.path:
        entry["path"] = upstream.path
    if upstream.push:
        entry["push"] = True
    if not upstream.pull:
        entry["pull"] = False
    if upstream.tls.plain_http:
        entry["tls"] = CommentedMap({"plain_http": True})
    return CommentedMap(entry)
