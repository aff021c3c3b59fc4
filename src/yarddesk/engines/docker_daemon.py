"""Which dockerd a person's `docker` talks to: its socket, its process, its flags and the file that it reads."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yarddesk.engines.docker_api import DockerApi, DockerUnreachable
from yarddesk.engines.environment import EngineEnvironment
from yarddesk.engines.files import read
from yarddesk.engines.model import EngineError

_UNIX: Final = "unix://"
_START_FILES: Final = (
    "default/docker",
    "systemd/system/docker.service",
    "systemd/system/docker.service.d/*.conf",
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A Docker Engine as it is found.

    config: the file that it reads. pid: None where it doesn't run. flags: the configuration's keys that are given on its
    command line. version, rootless: as the running engine says. config_named: the file's name was given as a flag.
    """

    socket: Path
    config: Path
    pid: int | None = None
    flags: frozenset[str] = frozenset()
    version: str = ""
    rootless: bool = False
    config_named: bool = False

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def api(self) -> DockerApi:
        return DockerApi(self.socket)


class NotThisMachines(EngineError):
    """`docker` talks to an engine that set-up can't reach: elsewhere, in a virtual machine, or no Docker at all."""


def find_daemon(environment: EngineEnvironment) -> Daemon | None:
    """The engine, running or only installed; None where there is none. Raises NotThisMachines, EngineError."""
    socket = _socket(environment)
    api = DockerApi(socket)
    try:
        peer = api.peer()
        version = api.version()
    except DockerUnreachable:
        return _installed(environment, socket)
    component = str(next((each.get("Name") for each in version.get("Components") or ()), ""))
    if "podman" in component.lower():
        raise NotThisMachines("Here the docker command talks to Podman.", hint="Set up Podman instead.")
    number = str(version.get("Version", ""))
    pid = _process(environment, peer)
    if pid is None:
        raise NotThisMachines(
            "This Docker does not run on this system itself.",
            f"What answers on {socket} is a virtual machine, as Docker Desktop has one, or another user's engine.",
            hint="Set-up is for Docker Engine on Linux; elsewhere add the address to insecure-registries by hand.",
        )
    arguments = _arguments(environment, pid)
    named = _values(arguments, "--config-file")
    rootless = "--rootless" in arguments or "--rootless=true" in arguments
    config = _config_file(environment, pid, named[-1]) if named else _usual_config(environment, rootless=rootless)
    return Daemon(socket, config, pid, _flags(arguments), number, rootless, bool(named))


def _installed(environment: EngineEnvironment, socket: Path) -> Daemon | None:
    if environment.program("dockerd") is None:
        return None
    rootless = not socket.is_relative_to(environment.run) and environment.user != 0
    flags = frozenset() if rootless else _flags_at_start(environment)
    return Daemon(socket, _usual_config(environment, rootless=rootless), flags=flags, rootless=rootless)


def _usual_config(environment: EngineEnvironment, *, rootless: bool) -> Path:
    if not rootless:
        return environment.etc / "docker/daemon.json"
    folder = environment.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else environment.home / ".config") / "docker/daemon.json"


def _socket(environment: EngineEnvironment) -> Path:
    """As the docker command finds it: DOCKER_HOST, the chosen context, the usual place; the rootless one's where that alone is."""
    address = environment.environ.get("DOCKER_HOST") or _context_address(environment)
    if address:
        if not address.startswith(_UNIX):
            raise NotThisMachines(
                "The docker command talks to an engine elsewhere.", hint="Run set-up there, or unset DOCKER_HOST."
            )
        return Path(address.removeprefix(_UNIX))
    usual = environment.run / "docker.sock"
    runtime = environment.environ.get("XDG_RUNTIME_DIR")
    if runtime and not usual.exists() and Path(runtime, "docker.sock").exists():
        return Path(runtime, "docker.sock")
    return usual


def _context_address(environment: EngineEnvironment) -> str:
    folder = Path(environment.environ.get("DOCKER_CONFIG") or environment.home / ".docker")
    name = environment.environ.get("DOCKER_CONTEXT") or _document(folder / "config.json").get("currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return ""
    meta = _document(folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json")
    endpoint = (meta.get("Endpoints") or {}).get("docker") or {}
    return str(endpoint.get("Host") or "")


def _document(path: Path) -> dict[str, Any]:
    """A file of the docker command's, which says itself what is wrong with one; here it then counts as empty."""
    try:
        found = json.loads(read(path) or b"{}")
    except (ValueError, EngineError):
        return {}
    return found if isinstance(found, dict) else {}


def _process(environment: EngineEnvironment, peer: int | None) -> int | None:
    """dockerd's process: who listens on the socket, or, where systemd opened that, whom the pid file or the list names."""
    if peer is not None and _is_dockerd(environment, peer):
        return peer
    noted = _noted_pid(environment.run / "docker.pid")
    if noted.isdecimal() and _is_dockerd(environment, int(noted)):
        return int(noted)
    numbers = [int(entry) for entry in os.listdir(environment.proc) if entry.isdecimal()]
    waiting = [pid for pid in numbers if _is_dockerd(environment, pid) and _listens_for_systemd(environment, pid)]
    return waiting[0] if len(waiting) == 1 and peer == 1 else None


def _noted_pid(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""  # there is none, or it is not for this user: then the list of processes tells


def _is_dockerd(environment: EngineEnvironment, pid: int) -> bool:
    arguments = _arguments(environment, pid)
    return bool(arguments) and os.path.basename(arguments[0]) == "dockerd"


def _listens_for_systemd(environment: EngineEnvironment, pid: int) -> bool:
    hosts = _values(_arguments(environment, pid), "--host", "-H")
    return any(host.startswith("fd://") for host in hosts)


def _arguments(environment: EngineEnvironment, pid: int) -> list[str]:
    try:
        line = (environment.proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []  # the process has ended, or hides from this user: then it is not known as dockerd
    return line.decode("utf-8", "replace").split("\0")[:-1]


def _values(arguments: Sequence[str], *names: str) -> list[str]:
    """The values of a flag in all the ways that it can be written."""
    found = []
    for number, argument in enumerate(arguments):
        for name in names:
            if argument == name and number + 1 < len(arguments):
                found.append(arguments[number + 1])
            elif name.startswith("--") and argument.startswith(f"{name}="):
                found.append(argument.partition("=")[2])
            elif not name.startswith("--") and argument.startswith(name) and len(argument) > len(name):
                found.append(argument[len(name) :].removeprefix("="))
    return found


def _flags(arguments: Sequence[str]) -> frozenset[str]:
    """The keys of ours that are flags already: the same in daemon.json as well keeps dockerd from reading it."""
    pairs = {"--insecure-registry": "insecure-registries", "--registry-mirror": "registry-mirrors"}
    return frozenset(key for flag, key in pairs.items() if _values(arguments, flag))


def _flags_at_start(environment: EngineEnvironment) -> frozenset[str]:
    """The same for an engine that doesn't run, from the files that the administrator may have put them into."""
    words: list[str] = []
    for pattern in _START_FILES:
        for file in sorted(environment.etc.glob(pattern)):
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue  # not ours to read; a conflict shows when dockerd starts
            said = " ".join(line for line in lines if not line.lstrip().startswith("#"))
            words += [word.strip("\"'") for word in re.split(r"[\s=]", said)]
    return _flags([*words, ""])


def _config_file(environment: EngineEnvironment, pid: int, named: str) -> Path:
    """A relative name is relative to where dockerd runs."""
    try:
        return Path(os.readlink(environment.proc / str(pid) / "cwd")) / named
    except OSError:
        return Path("/") / named
