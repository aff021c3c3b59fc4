"""The settings in force, as values. Durations are timedelta, sizes bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from yarddesk.content.credentials import Secret
from yarddesk.content.registry_host import registry_key


@dataclass(frozen=True, slots=True)
class LoggerSettings:
    level: str = "info"
    encoding: str = "console"
    color: bool = False
    output: str = "stderr"


@dataclass(frozen=True, slots=True)
class RequestLogSettings:
    enabled: bool = False
    level: str = "info"
    request_body: bool = False
    response_body: bool = False
    ignore_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`host`: "localhost" is both loopback addresses, "" all interfaces. `port` 0: any free one."""

    host: str = "localhost"
    port: int = 5050
    tls: bool = False
    certfile: str = ""
    keyfile: str = ""
    allowed_hosts: tuple[str, ...] = ()
    log: RequestLogSettings = field(default_factory=RequestLogSettings)


@dataclass(frozen=True, slots=True)
class StorageSettings:
    backend: str = "filesystem"
    endpoint: str = ""
    region: str = ""
    bucket: str = ""
    prefix: str = ""
    access_key: Secret = field(default_factory=lambda: Secret(""))
    secret_key: Secret = field(default_factory=lambda: Secret(""))
    use_ssl: bool = True
    force_path_style: bool = False
    touch_threshold: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    max_size: int = 20_000_000_000
    manifest_ttl: timedelta = timedelta(seconds=300)
    offline: bool = False
    min_free: int = 2_000_000_000
    quota_floor: int = 10


@dataclass(frozen=True, slots=True)
class OnSyncedSettings:
    """Either may hold a password."""

    command: Secret = field(default_factory=lambda: Secret(""))
    webhook: Secret = field(default_factory=lambda: Secret(""))


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """`bandwidth` in bytes a second, 0 = unlimited; `interval` is the fallback scan of the queue."""

    interval: timedelta = timedelta(seconds=10)
    concurrency: int = 4
    bandwidth: int = 0
    on_conflict: str = "overwrite"
    on_synced: OnSyncedSettings = field(default_factory=OnSyncedSettings)


class AuthType(StrEnum):
    KEYCHAIN = "keychain"
    ANONYMOUS = "anonymous"
    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class AuthSettings:
    type: AuthType = AuthType.KEYCHAIN
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))

    @property
    def is_configured(self) -> bool:
        """Whether it's the settings that say how to sign in, and no keychain is asked."""
        return self.type is not AuthType.KEYCHAIN


@dataclass(frozen=True, slots=True)
class TlsSettings:
    verify: bool = True
    ca_file: str = ""
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class TagFilter:
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`registry` is `host[:port]` without a scheme; `name` is never empty here (the prefix, else the registry's host)."""

    registry: str
    name: str
    prefix: str = ""
    path: str = ""
    push: bool = False
    pull: bool = True
    auth: AuthSettings = field(default_factory=AuthSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    manifest_ttl: timedelta | tuple[tuple[str, timedelta], ...] | None = None
    create_repository: bool = False
    tags: TagFilter = field(default_factory=TagFilter)

    @property
    def route(self) -> tuple[str, str, str]:
        """What no two of them have in common: prefix, registry by its one name, and path."""
        return self.prefix, registry_key(self.registry), self.path

    @property
    def way(self) -> tuple[str, AuthSettings, TlsSettings]:
        """Who answers, and to whom: what was learned of an upstream holds as long as this is the same."""
        return self.registry, self.auth, self.tls


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `source` is the YAML file it came from, where there is one."""

    data_dir: Path
    source: Path | None = None
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    check_timeout: timedelta = timedelta(seconds=5)
    upstreams: tuple[UpstreamSettings, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each key was found, but for those of upstreams: for who finds out later that what it says can't be used."""

    def place(self, key: str) -> str:
        """`FILE:LINE`, an environment variable or an option: as SettingsError wants it."""
        return self.places.get(key, str(self.source or ""))
