"""The real servers and clients as fixtures. What starts one stops it; each test gets its own unless it says otherwise."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers.containerd import Containerd
from tests.peers.desktop import Desktop
from tests.peers.dockerd import Docker, Dockerd
from tests.peers.engines import Buildah, Podman, Skopeo
from tests.peers.registry import DockerRegistry
from tests.peers.secret_service import SecretService
from tests.peers.token_server import TokenServer
from tests.peers.umoci import Umoci
from tests.peers.yarddesk import YarddeskProcess


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name, for sockets, whose names hold 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="yd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """As `short_path`, for what a whole file of tests shares."""
    folder = Path(tempfile.mkdtemp(prefix="yd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_registry(tmp_path: Path) -> Iterator[Callable[..., DockerRegistry]]:
    """Start docker-registries, each with its own content; the arguments are DockerRegistry's."""
    with ExitStack() as stack:
        count = 0

        def make(**options: Any) -> DockerRegistry:
            nonlocal count
            count += 1
            registry = DockerRegistry(options.pop("folder", tmp_path / f"registry-{count}"), **options)
            stack.callback(registry.stop)
            registry.start()
            return registry

        yield make


@pytest.fixture
def docker_registry(make_registry: Callable[..., DockerRegistry]) -> DockerRegistry:
    """A docker-registry that lets everybody in."""
    return make_registry()


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[TokenServer]:
    """A token server that knows `ci` with the password `secret of ci`."""
    server = TokenServer(tmp_path / "tokens", users={"ci": "secret of ci"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """One Docker Engine for all tests of this process: it takes seconds to start. Tests that change its daemon.json
    take `own_dockerd`."""
    yield from _running_dockerd()


@pytest.fixture
def own_dockerd() -> Iterator[Dockerd]:
    """A Docker Engine for one test."""
    yield from _running_dockerd()


def _running_dockerd() -> Iterator[Dockerd]:
    folder = Path(tempfile.mkdtemp(prefix="yd-docker-"))
    engine = Dockerd(folder)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def docker(dockerd: Dockerd, tmp_path: Path) -> Docker:
    """`docker` on the shared engine, with a configuration of its own."""
    return dockerd.client(tmp_path / "docker-home")


@pytest.fixture
def containerd(short_path: Path) -> Iterator[Containerd]:
    """A containerd with nothing in it."""
    engine = Containerd(short_path / "containerd")
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def podman(short_path: Path) -> Podman:
    return Podman(short_path / "podman")


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    return Buildah(tmp_path / "buildah-home")


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    return Skopeo(tmp_path / "skopeo-home")


@pytest.fixture
def umoci(tmp_path: Path) -> Umoci:
    return Umoci(tmp_path / "umoci-home")


@pytest.fixture
def secret_service(short_path: Path) -> Iterator[SecretService]:
    """An unlocked keychain; for another state make a SecretService."""
    service = SecretService(short_path / "keychain")
    service.start()
    yield service
    service.stop()


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    """A desktop with a tray."""
    screen = Desktop(tmp_path / "desktop")
    try:
        screen.start()
        yield screen
    finally:
        screen.stop()


@pytest.fixture
def make_yarddesk(tmp_path: Path) -> Iterator[Callable[..., YarddeskProcess]]:
    """Start yarddesk processes; the arguments are YarddeskProcess's, and `started`. What still runs at the end is killed."""
    with ExitStack() as stack:
        count = 0

        def make(*, started: bool = True, **options: Any) -> YarddeskProcess:
            nonlocal count
            count += 1
            process = YarddeskProcess(options.pop("folder", tmp_path / f"yarddesk-{count}"), **options)
            stack.callback(process.kill)
            if started:
                process.start()
            return process

        yield make


@pytest.fixture(autouse=True, scope="session")
def _home_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests see no settings, keychain, engine or display of the person who runs them."""
    home = tmp_path_factory.mktemp("home")
    gone = {"DISPLAY", "WAYLAND_DISPLAY", "DOCKER_HOST", "DOCKER_CONFIG", "XDG_CURRENT_DESKTOP", "REGISTRY_AUTH_FILE"}
    gone |= {name for name in os.environ if name.startswith(("YARDDESK_", "SWITCHYARD_"))}
    ours = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/no-session-bus",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in gone:
            patch.delenv(name, raising=False)
        for name, value in ours.items():
            patch.setenv(name, value)
        yield
