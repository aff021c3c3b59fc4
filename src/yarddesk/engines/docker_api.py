"""The Docker Engine API over its Unix socket (API v1.41 and later): version, information, and the images of a proof."""

import base64
import http.client
import json
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from yarddesk.engines.model import EngineError, ProofFailed

_LIMIT_SECONDS: Final = 10.0
_TRANSFER_SECONDS: Final = 60.0
_MAX_BYTES: Final = 8 * 1024 * 1024
# Docker wants the header even where there is nothing to say.
_NO_CREDENTIALS: Final = base64.urlsafe_b64encode(b"{}").decode()


class DockerUnreachable(EngineError):
    """Nothing answers on the socket."""


class DockerForbidden(EngineError):
    """This user may not use the socket."""


@dataclass(frozen=True, slots=True)
class RegistryView:
    """What a running dockerd knows of registries. insecure: the names listed as such. mirrors: of Docker Hub."""

    insecure: frozenset[str]
    mirrors: tuple[str, ...]


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, limit_seconds: float) -> None:
        super().__init__("docker", timeout=limit_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = _connect(self._path, self.timeout)


class DockerApi:
    """Blocking calls to the engine behind a socket; each opens a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def peer(self) -> int | None:
        """The process that listens there, None where the system doesn't tell. Raises DockerUnreachable, DockerForbidden."""
        if sys.platform != "linux":
            return None
        try:
            with _connect(self.path, _LIMIT_SECONDS) as connected:
                credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError as error:
            raise _unreachable(self.path, error) from error
        pid, _, _ = struct.unpack("3i", credentials)
        return int(pid) or None

    def version(self) -> dict[str, Any]:
        """As `GET /version` gives it."""
        return self._object("/version")

    def info(self) -> dict[str, Any]:
        """As `GET /info` gives it."""
        return self._object("/info")

    def registries(self) -> RegistryView:
        """What it holds of registries at this moment."""
        found = self.info().get("RegistryConfig") or {}
        indexes = found.get("IndexConfigs") or {}
        insecure = frozenset(name for name, index in indexes.items() if not index.get("Secure", True))
        return RegistryView(insecure, tuple(found.get("Mirrors") or ()))

    def load(self, archive: bytes) -> None:
        """Take over an image from an archive. Raises ProofFailed."""
        self._stream("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})

    def push(self, reference: str) -> None:
        """Push an image. Raises ProofFailed with the engine's reason."""
        name, _, tag = reference.rpartition(":")
        query = urlencode({"tag": tag})
        self._stream("POST", f"/images/{quote(name)}/push?{query}", b"", {"X-Registry-Auth": _NO_CREDENTIALS})

    def pull(self, reference: str) -> None:
        """Pull an image. Raises ProofFailed with the engine's reason."""
        name, _, tag = reference.rpartition(":")
        query = urlencode({"fromImage": name, "tag": tag})
        self._stream("POST", f"/images/create?{query}", b"", {"X-Registry-Auth": _NO_CREDENTIALS})

    def layers(self, reference: str) -> list[str]:
        """The digests of an image's uncompressed layers; none where the engine doesn't have the image."""
        status, body = self._request("GET", f"/images/{quote(reference)}/json")
        if status == 404:
            return []
        found = _parse(body) if status == 200 else {}
        return [str(layer) for layer in (found.get("RootFS") or {}).get("Layers") or ()]

    def remove(self, reference: str) -> None:
        """Remove an image; one that isn't there is fine. Raises EngineError."""
        status, body = self._request("DELETE", f"/images/{quote(reference)}?force=1")
        if status not in (200, 404):
            raise EngineError(f"Docker did not remove {reference}.", _message(body))

    def _object(self, path: str) -> dict[str, Any]:
        status, body = self._request("GET", path)
        if status != 200:
            raise EngineError(f"Docker answered {path} with status {status}.", _message(body))
        return _parse(body)

    def _stream(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        """A call whose answer is a line of JSON for each step: a failure comes as a line after the status 200."""
        status, answer = self._request(method, path, body, headers, _TRANSFER_SECONDS)
        reason = "" if status == 200 else _message(answer) or f"It answered with status {status}."
        for line in answer.splitlines():
            step = _parse(line)
            reason = str((step.get("errorDetail") or {}).get("message") or step.get("error") or reason)
        if reason:
            raise ProofFailed("Docker could not do it.", reason)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit_seconds: float = _LIMIT_SECONDS,
    ) -> tuple[int, bytes]:
        connection = _SocketConnection(self.path, limit_seconds)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(_MAX_BYTES)
        except TimeoutError as error:
            raise EngineError(f"Docker did not answer within {limit_seconds:.0f} s.", temporary=True) from error
        except OSError as error:
            raise _unreachable(self.path, error) from error
        except http.client.HTTPException as error:
            raise EngineError(f"What answers on {self.path} does not speak as Docker does.") from error
        finally:
            connection.close()


def _connect(path: Path, limit_seconds: float | None) -> socket.socket:
    if sys.platform == "win32":
        raise FileNotFoundError(2, "no Unix sockets here", str(path))
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(limit_seconds)
        connected.connect(str(path))
    except BaseException:
        connected.close()
        raise
    return connected


def _unreachable(path: Path, error: OSError) -> EngineError:
    if isinstance(error, PermissionError):
        return DockerForbidden(
            "You may not talk to Docker.",
            f"{path} is not open to this user.",
            hint="Join the group docker (sudo usermod -aG docker $USER, then sign in anew), or run sudo yarddesk setup docker.",
        )
    return DockerUnreachable("Docker isn't running.", f"Nothing answers on {path}.", temporary=True)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(body: bytes) -> str:
    return str(_parse(body).get("message", ""))
