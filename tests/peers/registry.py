"""The registry that Debian ships (docker-registry 2.8), as an upstream of ours."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Content, Image, Index
from tests.support.programs import Program, clean_environment

ACCESS = re.compile(r'^\S+ - \S* \[[^]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) ', re.M)


@dataclass(frozen=True)
class Seen:
    """A request that the registry answered, from its access log."""

    method: str
    path: str
    status: int


@dataclass(frozen=True)
class TokenAuth:
    """What docker-registry must know of a token server."""

    realm: str
    service: str
    issuer: str
    root_certificates: Path


@dataclass
class DockerRegistry:
    """Debian's docker-registry on a free loopback port, with its content below `folder`.

    users: name → password, for basic authentication. token: for the token dance.
    settings: further keys of its configuration, which replace ours at the top level.
    Stopped and started again it keeps its port and its content.
    """

    folder: Path
    users: Mapping[str, str] = field(default_factory=dict)
    token: TokenAuth | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
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
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def content_folder(self) -> Path:
        return self.folder / "content"

    def start(self) -> None:
        # JSON is YAML; a port of 0 is chosen by the kernel, and kept from then on.
        (self.folder / "config.yml").write_text(json.dumps(self._config()), encoding="utf-8")
        self._program.start()
        line = self._program.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")
        self.port = int(line[1])

    def stop(self) -> None:
        """Stop it; connections to its port are refused until it is started again."""
        self._program.kill()  # 2.8 waits for idle keep-alive connections on SIGTERM

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
        return config | dict(self.settings)

    def log(self) -> str:
        return self._program.log.read_text(encoding="utf-8", errors="replace")

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests that it has answered, oldest first, over all its starts; optionally by method, and by a regular
        expression found in the path."""
        found = [Seen(line["method"], line["path"], int(line["status"])) for line in ACCESS.finditer(self.log())]
        return [each for each in found if (not method or each.method == method) and re.search(path, each.path)]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; signed in as the first user where there are users."""
        address = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(address, data=body, method=method, headers=dict(headers or {}))
        for name, password in list(self.users.items())[:1]:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())
        try:
            with _direct.open(request, timeout=30) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def manifest(self, repository: str, reference: str) -> Content | None:
        """The manifest as it lies there, or None."""
        accept = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
        status, headers, body = self.request(
            "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept}
        )
        return Content(headers["Content-Type"], body) if status == 200 else None

    def blob(self, repository: str, digest: str) -> bytes | None:
        """A blob's bytes, or None."""
        status, _, body = self.request("GET", f"/v2/{repository}/blobs/{digest}")
        return body if status == 200 else None

    def holds(self, repository: str, reference: str, content: Image | Index) -> bool:
        """Whether the whole image can be read from it, byte for byte."""
        top = self.manifest(repository, reference)
        if top != content.manifest:
            return False
        children = all(self.manifest(repository, child.digest) == child for child in content.manifests[:-1])
        return children and all(self.blob(repository, blob.digest) == blob.content for blob in content.blobs)

    def tags(self, repository: str) -> list[str]:
        status, _, body = self.request("GET", f"/v2/{repository}/tags/list")
        return list(json.loads(body)["tags"] or ()) if status == 200 else []

    def push(self, repository: str, tag: str, content: Image | Index) -> None:
        """Put an image there, without a client of anybody's."""
        for blob in content.blobs:
            status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
            assert status == 202, status
            location = headers["Location"]
            join = "&" if "?" in location else "?"
            octets = {"Content-Type": "application/octet-stream"}
            status, _, body = self.request("PUT", f"{location}{join}digest={blob.digest}", blob.content, octets)
            assert status == 201, body
        for manifest in content.manifests:
            reference = tag if manifest is content.manifest else manifest.digest
            headers_sent = {"Content-Type": manifest.media_type}
            path = f"/v2/{repository}/manifests/{reference}"
            status, _, body = self.request("PUT", path, manifest.content, headers_sent)
            assert status == 201, body


# No proxy of the machine's stands between a test and its loopback peer.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
