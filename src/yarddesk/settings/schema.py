"""Every key of the settings and how its value is read: the one place that knows them."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from yarddesk.content.credentials import Secret
from yarddesk.settings import values

Parser = Callable[[object], Any]

LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic", "critical")


def secret(given: object) -> Secret:
    """A text that no message repeats."""
    if not isinstance(given, str | None):
        raise ValueError("a secret is a text; put it in quotes")
    return Secret(given or "")


def command(given: object) -> Secret:
    """A command line; no message repeats it."""
    line = secret(given)
    if line and not values.command_words(line.reveal()):
        raise ValueError("there is no command in it")
    return line


def web_address(given: object) -> Secret:
    """Where something is sent by HTTP; no message repeats it."""
    address = secret(given)
    try:
        parts = urlsplit(address.reveal())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    text = address.reveal()
    if text and not (usable and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("it is not an address such as https://example.com/hook")
    return address


KEYS: Final[Mapping[str, Parser]] = {
    "logger.level": values.one_of(*LEVELS),
    "logger.encoding": values.one_of("console", "json"),
    "logger.color": values.boolean,
    "logger.output": values.path,
    "server.host": values.text,
    "server.port": values.whole_number(0, 65535),
    "server.tls": values.boolean,
    "server.certfile": values.text,
    "server.keyfile": values.text,
    "server.allowed_hosts": values.texts,
    "server.log.enabled": values.boolean,
    "server.log.level": values.one_of(*LEVELS),
    "server.log.request_body": values.boolean,
    "server.log.response_body": values.boolean,
    "server.log.ignore_paths": values.texts,
    "data_dir": values.path,
    "storage.backend": values.one_of("filesystem", "s3"),
    "storage.endpoint": values.text,
    "storage.region": values.text,
    "storage.bucket": values.text,
    "storage.prefix": values.text,
    "storage.access_key": secret,
    "storage.secret_key": secret,
    "storage.use_ssl": values.boolean,
    "storage.force_path_style": values.boolean,
    "storage.touch_threshold": values.duration,
    "cache.max_size": values.size,
    "cache.manifest_ttl": values.duration,
    "cache.offline": values.boolean,
    "cache.min_free": values.size,
    "cache.quota_floor": values.whole_number(0, 1_000_000),
    "sync.interval": values.duration,
    "sync.concurrency": values.whole_number(1, 64),
    "sync.bandwidth": values.size,
    "sync.on_conflict": values.one_of("overwrite", "ask", "keep"),
    "sync.on_synced.command": command,
    "sync.on_synced.webhook": web_address,
    "upstream.check_timeout": values.duration,
}
"""All keys but the list of upstreams, which comes from YAML alone."""

UPSTREAM_KEYS: Final[Mapping[str, Parser]] = {
    "prefix": values.text,
    "registry": values.text,
    "path": values.text,
    "name": values.text,
    "push": values.boolean,
    "pull": values.boolean,
    "manifest_ttl": lambda given: given,  # a duration, or a map of tag patterns to durations: read by its own function
    "create_repository": values.boolean,
    "tags.include": values.texts,
    "tags.exclude": values.texts,
    "tls.verify": values.boolean,
    "tls.ca_file": values.text,
    "tls.plain_http": values.boolean,
    "auth.type": values.text,
    "auth.username": values.text,
    "auth.password": secret,
}
"""The keys of one entry of `upstreams`."""

SECRETS: Final = frozenset(
    key for keys in (KEYS, UPSTREAM_KEYS) for key, parser in keys.items() if parser in (secret, command, web_address)
)
"""Keys whose values nobody is shown."""

SECTIONS: Final = frozenset(key.rpartition(".")[0] for key in (*KEYS, *UPSTREAM_KEYS) if "." in key)
"""Keys that hold other keys."""


def environment_name(key: str) -> str:
    """`server.port` → `YARDDESK_SERVER_PORT`."""
    return "YARDDESK_" + key.upper().replace(".", "_")


ENVIRONMENT: Final[Mapping[str, str]] = {environment_name(key): key for key in KEYS}

SHORT_ENVIRONMENT: Final[Mapping[str, str]] = {"YARDDESK_MANIFEST_TTL": "cache.manifest_ttl"}
"""Short names beside those that a key gives by itself; the long name wins."""
