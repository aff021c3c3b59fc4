"""The registry that Debian ships (docker-registry 2.8), as an upstream of ours."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt

from tests.support.ports import hold_port
from tests.support.programs import Program, clean_environment
from tests.support.registry_client import RegistryClient

ACCESS = re.compile(
    r'^\S+ - \S* \[[^]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/(?P<version>[\d.]+)" (?P<status>\d{3}) ', re.M
)


@dataclass(frozen=True)
class Seen:
    """A request that the registry answered, from its access log."""

    method: str
    path: str
    status: int
    version: str = "1.1"


@dataclass(frozen=True)
class TokenAuth:
    """What docker-registry must know of a token server."""

    realm: str
    service: str
    issuer: str
    root_certificates: Path


@dataclass
class DockerRegistry(RegistryClient):
    """Debian's docker-registry on a free loopback port, with its content below `folder`.

    users: name → password, for basic authentication; its own client methods act as the first. token: for the token dance.
    settings: further keys of its configuration, which replace ours at the top level; those below `http` are added to ours.
    Stopped and started again it keeps its port and its content.
    """

    folder: Path
    users: Mapping[str, str] = field(default_factory=dict)
    token: TokenAuth | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        super().__init__("", next(iter(self.users.items()), None))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or hold_port(self)
        config = self.folder / "config.yml"
        environment = clean_environment(self.folder / "home", {"OTEL_TRACES_EXPORTER": "none"})
        self._program = Program(
            ["docker-registry", "serve", str(config)], environment=environment, log=self.folder / "registry.log"
        )

    @property
    def host(self) -> str:
        """HOST:PORT, as it stands in an image's name."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def content_folder(self) -> Path:
        return self.folder / "content"

    def start(self) -> None:
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(self._config()), encoding="utf-8")
        self._program.start()
        self._program.wait_for_line(rf"listening on {re.escape(self.host)}")
        self.url = f"http://{self.host}"

    def stop(self) -> None:
        """Stop it; connections to its port are refused until it is started again."""
        self._program.stop()

    def tagged(self, repository: str, tag: str) -> str:
        """The digest that a tag names on its disk, whoever may ask for it over HTTP; empty where there is none."""
        link = self._on_disk / "repositories" / repository / "_manifests/tags" / tag / "current/link"
        return link.read_text(encoding="ascii").strip() if link.exists() else ""

    def kept(self, digest: str) -> bytes | None:
        """The bytes that lie on its disk under a digest, checked by nobody."""
        plain = digest.removeprefix("sha256:")
        path = self._on_disk / "blobs/sha256" / plain[:2] / plain / "data"
        return path.read_bytes() if path.exists() else None

    def has_linked(self, repository: str, digest: str) -> bool:
        """Whether a blob belongs to a repository there."""
        plain = digest.removeprefix("sha256:")
        return (self._on_disk / "repositories" / repository / "_layers/sha256" / plain / "link").exists()

    def forget_blobs(self, repository: str) -> None:
        """None of the blobs belongs to this repository any more, as after somebody has tidied up there."""
        shutil.rmtree(self._on_disk / "repositories" / repository / "_layers")

    def uploads_left(self, repository: str) -> list[str]:
        """The upload sessions that nobody has closed or cancelled."""
        folder = self._on_disk / "repositories" / repository / "_uploads"
        # Of one that was cancelled it keeps an empty shell.
        return [path.parent.name for path in folder.glob("*/startedat")]

    @property
    def _on_disk(self) -> Path:
        return self.content_folder / "docker/registry/v2"

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": str(self.content_folder)}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": "the same over restarts"},
        }
        if self.users:
            passwords = self.folder / "htpasswd"
            lines = [f"{name}:{_bcrypt(password)}\n" for name, password in self.users.items()]
            passwords.write_text("".join(lines), encoding="utf-8")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
        if self.token:
            config["auth"] = {
                "token": {
                    "realm": self.token.realm,
                    "service": self.token.service,
                    "issuer": self.token.issuer,
                    "rootcertbundle": str(self.token.root_certificates),
                }
            }
        return config | dict(self.settings) | {"http": config["http"] | self.settings.get("http", {})}

    def log(self) -> str:
        return self._program.log.read_text(encoding="utf-8", errors="replace")

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests that it has answered, oldest first, over all its starts; optionally by method, and by a regular
        expression found in the path."""
        lines = ACCESS.finditer(self.log())
        found = [Seen(line["method"], line["path"], int(line["status"]), line["version"]) for line in lines]
        return [each for each in found if (not method or each.method == method) and re.search(path, each.path)]


def over_tls(certificate: Path, key: Path, **more: Any) -> dict[str, Any]:
    """What makes it speak HTTPS, as its `settings`; more: of its `http`."""
    return {"http": {"tls": {"certificate": str(certificate), "key": str(key)}, **more}}


def _bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
