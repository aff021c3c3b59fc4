"""From options, environment, YAML and defaults to `Settings`, in that order of precedence."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from yarddesk.settings import schema
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import (
    CacheSettings,
    LoggerSettings,
    OnSyncedSettings,
    RequestLogSettings,
    ServerSettings,
    Settings,
    StorageSettings,
    SyncSettings,
    UpstreamSettings,
)
from yarddesk.settings.upstreams import (
    DEFAULT_UPSTREAMS,
    EntryError,
    name_upstreams,
    upstream_from_entry,
    upstream_from_url,
    with_catch_all,
)
from yarddesk.settings.yaml_file import expand, line_of, read_document, variables_in

_PREFIX: Final = "YARDDESK_"
_SERVICE_LINK: Final = "tcp://"
"""How Kubernetes' links to services begin, which it puts into every container's environment."""
UPSTREAM_VARIABLE: Final = "YARDDESK_UPSTREAM"
# What Switchyard's variables are called here, and Dockyard's, which are its keys in capitals.
_SWITCHYARD: Final = {
    "SWITCHYARD_DATA_DIR": "YARDDESK_DATA_DIR",
    "SWITCHYARD_UPSTREAM": "YARDDESK_UPSTREAM",
    "SWITCHYARD_SYNC_INTERVAL": "YARDDESK_SYNC_INTERVAL",
    "SWITCHYARD_MANIFEST_TTL": "YARDDESK_MANIFEST_TTL",
    "SWITCHYARD_PORT": "YARDDESK_SERVER_PORT",
    "SWITCHYARD_LOG_LEVEL": "YARDDESK_LOGGER_LEVEL",
}
_DOCKYARD_SECTIONS: Final = ("logger.", "server.", "storage.", "upstream.")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and what the user should be told about where they came from.

    `file` is the YAML file that was read, or would have been; `environment`: the variables that were heeded; `unset`: those
    that the file names as `${VAR}` and that are not set.
    """

    settings: Settings
    warnings: tuple[str, ...] = ()
    file: Path = field(default_factory=Path)
    environment: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    """Values by dotted key, as they were found, and where."""

    found: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    heeded: list[str] = field(default_factory=list)

    def take(self, where: str, key: str, given: object) -> None:
        try:
            self.found[key] = schema.KEYS[key](given)
        except ValueError as error:
            raise SettingsError(where, key, str(error)) from error
        self.places[key] = where


def default_config_file() -> Path:
    """`config.yaml` in the platform's config folder."""
    with _at_home("--config"):
        return Path(platformdirs.user_config_dir("yarddesk", appauthor=False)) / "config.yaml"


def default_data_dir() -> Path:
    with _at_home("--data-dir"):
        return Path(platformdirs.user_data_dir("yarddesk", appauthor=False))


@contextmanager
def _at_home(option: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise SettingsError(
            "", "", "this user has no home folder", hint=f"Set HOME, or say where with {option}."
        ) from error


def load_settings(
    environ: Mapping[str, str], *, file: Path | None = None, options: Mapping[str, object] | None = None
) -> LoadedSettings:
    """Read everything. `file` is the `--config` option, `options` are values by dotted key.

    Raises SettingsError for what can't be used; a `--config` that is not there counts as that.
    """
    path = file or default_config_file()
    reading = _Reading()
    upstreams: tuple[UpstreamSettings, ...] | None = None
    source: Path | None = None
    unset: tuple[str, ...] = ()
    try:
        document = read_document(path)
        source = path
        unset = tuple(name for name in dict.fromkeys(variables_in(document)) if name not in environ)
        upstreams = _read_yaml(document, path, environ, reading)
    except FileNotFoundError as error:
        if file is not None:
            raise SettingsError(str(path), "", "there is no such file") from error
    except OSError as error:
        raise SettingsError(str(path), "", f"the file can't be read: {error.strerror}") from error
    _read_environment(environ, reading)
    for key, given in (options or {}).items():
        if given is not None:
            reading.take("--" + key.rpartition(".")[2].replace("_", "-").replace("level", "log-level"), key, given)
    _check_tls(reading)
    upstreams = DEFAULT_UPSTREAMS if upstreams is None else upstreams
    upstreams = with_environment_upstream(upstreams, environ)
    settings = _build(reading, source, upstreams)
    return LoadedSettings(settings, tuple(reading.warnings), path, tuple(reading.heeded), unset)


def _read_yaml(
    document: CommentedMap, path: Path, environ: Mapping[str, str], reading: _Reading
) -> tuple[UpstreamSettings, ...] | None:
    upstreams: tuple[UpstreamSettings, ...] | None = None
    if "upstreams" in document:
        upstreams = _read_upstreams(document, path, environ)
    rest = {key: value for key, value in document.items() if key != "upstreams"}
    for where, key, given in _flatten(document, rest, "", path, environ, schema.KEYS):
        reading.take(where, key, given)
    return upstreams


def _flatten(
    node: CommentedMap,
    entries: Mapping[Any, Any],
    prefix: str,
    path: Path,
    environ: Mapping[str, str],
    keys: Mapping[str, schema.Parser],
    owner: str = "",
) -> Iterator[tuple[str, str, object]]:
    """Where, dotted key and value of everything below `node`. Raises SettingsError for a key that `keys` doesn't have.

    `owner` stands before the key in the error alone: an upstream's keys are looked up by themselves.
    """
    for name, given in entries.items():
        key = f"{prefix}{name}"
        line = line_of(node, name) or node.lc.line + 1  # what is merged in stands in no line of the node's own
        where = f"{path}:{line}"
        if key in keys:
            if isinstance(given, CommentedMap) and key != "manifest_ttl":
                raise SettingsError(where, owner + key, "a single value belongs here, not further keys")
            yield where, key, _expanded(given, environ)
        elif any(known.startswith(f"{key}.") for known in keys):
            if given is None:
                continue
            if not isinstance(given, CommentedMap):
                raise SettingsError(where, owner + key, "further keys belong here, not a single value")
            yield from _flatten(given, given, f"{key}.", path, environ, keys, owner)
        else:
            raise SettingsError(where, owner + key, "there is no such key", hint=_nearest(key, keys, owner))


def _nearest(key: str, keys: Mapping[str, schema.Parser], owner: str) -> str:
    import difflib  # needed for a mistake alone

    near = difflib.get_close_matches(key, keys, n=1)
    return f"Did you mean {owner}{near[0]}?" if near else ""


def _expanded(given: object, environ: Mapping[str, str]) -> object:
    if isinstance(given, str):
        return expand(given, environ)
    if isinstance(given, CommentedSeq):
        return [_expanded(entry, environ) for entry in given]
    if isinstance(given, CommentedMap):
        return {key: _expanded(value, environ) for key, value in given.items()}
    return given


def _read_upstreams(document: CommentedMap, path: Path, environ: Mapping[str, str]) -> tuple[UpstreamSettings, ...]:
    listed = document["upstreams"]
    top = f"{path}:{line_of(document, 'upstreams')}"
    if listed is None:
        return ()
    if not isinstance(listed, CommentedSeq):
        raise SettingsError(top, "upstreams", "a list belongs here, each entry with its registry")
    upstreams: list[UpstreamSettings] = []
    places: list[str] = []
    for index, node in enumerate(listed):
        key = f"upstreams[{index}]"
        where = f"{path}:{line_of(listed, index) or line_of(document, 'upstreams')}"
        if not isinstance(node, CommentedMap):
            raise SettingsError(where, key, "an upstream is keys with values, such as registry: ghcr.io")
        upstreams.append(_read_upstream(node, key, where, path, environ))
        places.append(where)
    _refuse_doubles(upstreams, places)
    return name_upstreams(upstreams)


def _read_upstream(
    node: CommentedMap, key: str, where: str, path: Path, environ: Mapping[str, str]
) -> UpstreamSettings:
    entry: dict[str, Any] = {}
    places: dict[str, str] = {}
    for place, name, given in _flatten(node, node, "", path, environ, schema.UPSTREAM_KEYS, f"{key}."):
        try:
            entry[name] = schema.UPSTREAM_KEYS[name](given)
        except ValueError as error:
            raise SettingsError(place, f"{key}.{name}", str(error)) from error
        places[name] = place
    try:
        return upstream_from_entry(entry)
    except EntryError as error:
        raise SettingsError(places.get(error.key, where), f"{key}.{error.key}", str(error)) from error


def _refuse_doubles(upstreams: Sequence[UpstreamSettings], places: Sequence[str]) -> None:
    routes: dict[tuple[str, str, str], str] = {}
    names: dict[str, str] = {}
    for index, (upstream, where) in enumerate(zip(upstreams, places, strict=True)):
        route = upstream.route
        if route in routes:
            raise SettingsError(
                where, f"upstreams[{index}]", f"the same prefix, registry and path stand at {routes[route]} already"
            )
        routes[route] = where
        if upstream.name:
            if upstream.name in names:
                raise SettingsError(
                    where,
                    f"upstreams[{index}].name",
                    f"“{upstream.name}” is the name of the one at {names[upstream.name]}",
                )
            names[upstream.name] = where


def _read_environment(environ: Mapping[str, str], reading: _Reading) -> None:
    known = {**schema.SHORT_ENVIRONMENT, **schema.ENVIRONMENT}
    # Short names first: the long one wins.
    for name in (*schema.SHORT_ENVIRONMENT, *sorted(environ)):
        if name not in environ or not name.startswith(_PREFIX):
            continue
        if name in schema.SHORT_ENVIRONMENT and schema.environment_name(known[name]) in environ:
            continue
        if environ[name].startswith(_SERVICE_LINK):
            reading.warnings.append(f"{name} is ignored: it looks like a service link of Kubernetes.")
        elif name == UPSTREAM_VARIABLE:
            reading.heeded.append(name)  # taken up with the list of upstreams
        elif name not in known:
            reading.warnings.append(f"{name} is ignored: there is no such setting.")
        else:
            reading.take(name, known[name], environ[name])
            reading.heeded.append(name)
    _warn_of_predecessors(environ, reading)


def _warn_of_predecessors(environ: Mapping[str, str], reading: _Reading) -> None:
    for name in sorted(environ):
        ours = ""
        if name.startswith("SWITCHYARD_"):
            ours = _SWITCHYARD.get(name, "a YARDDESK_ variable or a key of the settings file")
        for key in schema.KEYS:
            if key.startswith(_DOCKYARD_SECTIONS) and name == key.upper().replace(".", "_"):
                ours = schema.environment_name(key)
        if ours and ours not in environ:
            reading.warnings.append(f"{name} is not read; yarddesk's is {ours}.")


def with_environment_upstream(
    upstreams: tuple[UpstreamSettings, ...], environ: Mapping[str, str]
) -> tuple[UpstreamSettings, ...]:
    """Those that are in force where the file has these. Raises SettingsError."""
    url = environ.get(UPSTREAM_VARIABLE)
    if url is None or url.startswith(_SERVICE_LINK):
        return upstreams
    if not url.strip():
        return ()
    try:
        catch_all = upstream_from_url(url.strip())
    except ValueError as error:
        raise SettingsError(UPSTREAM_VARIABLE, "", str(error)) from error
    unnamed = UpstreamSettings(**{**_fields(catch_all), "name": ""})
    return name_upstreams(with_catch_all(upstreams, unnamed))


def _check_tls(reading: _Reading) -> None:
    if reading.found.get("server.tls") and not reading.found.get("server.certfile"):
        where = reading.places.get("server.certfile", reading.places["server.tls"])
        raise SettingsError(where, "server.certfile", "server.tls needs a certificate", hint="Name its PEM file.")


def _fields(upstream: UpstreamSettings) -> dict[str, Any]:
    return {name: getattr(upstream, name) for name in UpstreamSettings.__dataclass_fields__}


def _build(reading: _Reading, source: Path | None, upstreams: tuple[UpstreamSettings, ...]) -> Settings:
    found = reading.found

    def section(prefix: str) -> dict[str, Any]:
        start = f"{prefix}."
        return {
            key[len(start) :]: value
            for key, value in found.items()
            if key.startswith(start) and "." not in key[len(start) :]
        }

    storage = section("storage")
    if storage.get("bucket") and "backend" not in storage:
        storage["backend"] = "s3"
    settings: dict[str, Any] = {}
    if "upstream.check_timeout" in found:
        settings["check_timeout"] = found["upstream.check_timeout"]
    return Settings(
        data_dir=Path(found["data_dir"]).expanduser() if found.get("data_dir") else default_data_dir(),
        source=source,
        logger=LoggerSettings(**section("logger")),
        server=ServerSettings(**section("server"), log=RequestLogSettings(**section("server.log"))),
        storage=StorageSettings(**storage),
        cache=CacheSettings(**section("cache")),
        sync=SyncSettings(**section("sync"), on_synced=OnSyncedSettings(**section("sync.on_synced"))),
        upstreams=upstreams,
        places=reading.places,
        **settings,
    )
