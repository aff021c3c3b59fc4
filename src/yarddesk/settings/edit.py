"""Changes of the settings file that the app and the commands make: upstreams come and go, comments stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import load_settings
from yarddesk.settings.model import UpstreamSettings
from yarddesk.settings.upstreams import DEFAULT_UPSTREAMS
from yarddesk.settings.yaml_file import edit_document


def add_upstream(path: Path, upstream: UpstreamSettings, environ: Mapping[str, str]) -> None:
    """Append an upstream to the file's list, made with the default list first where the file has none.

    Raises SettingsError where it is there already or the file can't be used as it stands; the file is then left alone.
    """
    present = _load(path, environ)
    wanted = (upstream.prefix, upstream.registry, upstream.path)
    for other in present:
        if (other.prefix, other.registry, other.path) == wanted:
            raise SettingsError(str(path), "upstreams", f"{other.name} has that prefix, registry and path already")
        if other.name == upstream.name and _entry(upstream).get("name"):
            raise SettingsError(str(path), "upstreams", f"“{upstream.name}” is the name of another upstream")

    def append(document: CommentedMap) -> None:
        listed = document.get("upstreams")
        if not isinstance(listed, CommentedSeq):
            # The list replaces the defaults, so the defaults are written out for the user to keep or strike.
            listed = CommentedSeq([] if "upstreams" in document else [_entry(default) for default in DEFAULT_UPSTREAMS])
            document["upstreams"] = listed
        listed.append(_entry(upstream))

    edit_document(path, append)


def remove_upstream(path: Path, name: str, environ: Mapping[str, str]) -> None:
    """Take the upstream of that name out of the file's list. Raises SettingsError where there is none."""
    present = _load(path, environ)
    index = next((position for position, upstream in enumerate(present) if upstream.name == name), None)
    if index is None:
        known = ", ".join(upstream.name for upstream in present) or "none"
        raise SettingsError(str(path), "upstreams", f"there is no upstream “{name}”; there is: {known}")

    def strike(document: CommentedMap) -> None:
        listed = document.get("upstreams")
        if not isinstance(listed, CommentedSeq):
            listed = CommentedSeq([_entry(default) for default in DEFAULT_UPSTREAMS])
            document["upstreams"] = listed
        del listed[index]

    edit_document(path, strike)


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
