"""The window's page “Set up”: a real desktop, a real dockerd, real podman, buildah and skopeo, real clicks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.machines import PodmanMachine, registries_of
from tests.acceptance.settings import push_everything_to
from tests.peers.desktop import Desktop
from tests.peers.dockerd import Dockerd
from tests.peers.registry import DockerRegistry
from tests.peers.screen_reader import ScreenReader
from tests.peers.secret_service import SecretService
from tests.peers.yarddesk import YarddeskProcess
from tests.support.engine_files import DAEMON_JSON
from tests.support.programs import Program
from tests.support.waiting import until
from yarddesk.engines import PROOF_REPOSITORY

pytestmark = pytest.mark.xdist_group("dockerd")

DOCKER, PODMAN = "Docker Engine", "Podman"


class DesktopOnMachine(YarddeskProcess):
    """The desktop app, run on a machine with its own /etc/containers."""

    def __init__(self, folder: Path, machine: PodmanMachine, config: str, environment: dict[str, str]) -> None:
        self._machine = machine
        variables = environment | machine.variables
        super().__init__(folder, mode="desktop", config=config, environment=variables, host="localhost")

    def _make_program(self) -> Program:
        program = super()._make_program()
        return Program(
            self._machine.inside(*program.command), environment=program.environment, log=self.folder / "yarddesk.log"
        )


@pytest.fixture
def machine(short_path: Path) -> PodmanMachine:
    return PodmanMachine(short_path / "p")


@pytest.fixture
def app(
    machine: PodmanMachine,
    docker_registry: DockerRegistry,
    own_dockerd: Dockerd,
    desktop: Desktop,
    secret_service: SecretService,
    tmp_path: Path,
) -> Iterator[DesktopOnMachine]:
    environment = {**desktop.environment, **secret_service.environment, "DOCKER_HOST": own_dockerd.address}
    environment |= ScreenReader.environment(secret_service.address)
    process = DesktopOnMachine(tmp_path / "yarddesk", machine, push_everything_to(docker_registry.host), environment)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def page(app: DesktopOnMachine, desktop: Desktop, secret_service: SecretService) -> Iterator[ScreenReader]:
    """The window with its page “Set up”, read by a screen reader."""
    desktop.activate(desktop.wait_for_window("--name", "yarddesk").id)
    with ScreenReader(secret_service.address, desktop, app.pid) as reader:
        reader.click("check box", "Set up")
        reader.find("push button", "Look again")
        yield reader


def expect_no_trace_of_the_proof(app: YarddeskProcess, registry: DockerRegistry) -> None:
    assert app.tags(str(PROOF_REPOSITORY)) == []
    assert json.loads(app.request("GET", "/v2/_catalog")[2])["repositories"] == []
    assert not registry.seen(path=str(PROOF_REPOSITORY))


@pytest.mark.parametrize("text", ["{}", DAEMON_JSON], ids=["from the default", "beside other keys and mirrors"])
def test_docker_is_set_up_at_a_click_proved_and_put_back_to_the_byte(
    app: DesktopOnMachine,
    page: ScreenReader,
    own_dockerd: Dockerd,
    docker_registry: DockerRegistry,
    desktop: Desktop,
    tmp_path: Path,
    text: str,
) -> None:
    config = own_dockerd.config_file
    own_dockerd.configure(text)
    page.click("push button", "Look again")
    before = registries_of(own_dockerd)
    diff = page.expect(f"+++ {config}", within=DOCKER)
    assert f'"{app.registry}"' in diff
    desktop.screenshot(tmp_path / "to do.png")

    page.click("push button", "Apply", within=DOCKER)
    page.expect("Pushed a tiny image in", within=DOCKER)
    page.expect(f"pushes to {app.registry} and pulls from it", within=DOCKER)
    desktop.screenshot(tmp_path / "done.png")
    assert registries_of(own_dockerd)["insecure"] == sorted([*before["insecure"], app.registry])
    assert own_dockerd.client(tmp_path).run("images", "--all", "--quiet").stdout == ""
    expect_no_trace_of_the_proof(app, docker_registry)

    page.click("push button", "Undo", within=DOCKER)
    page.expect("is byte for byte as it was before", within=DOCKER)
    page.find("push button", "Apply", within=DOCKER)
    desktop.screenshot(tmp_path / "undone.png")
    assert config.read_text(encoding="utf-8") == text
    assert registries_of(own_dockerd) == before


@pytest.mark.parametrize("others", [False, True], ids=["from the default", "beside other keys and mirrors"])
def test_podman_is_set_up_at_a_click_proved_and_put_back_to_the_byte(
    app: DesktopOnMachine,
    page: ScreenReader,
    machine: PodmanMachine,
    docker_registry: DockerRegistry,
    desktop: Desktop,
    tmp_path: Path,
    others: bool,
) -> None:
    if others:
        machine.add_other_settings()
        page.click("push button", "Look again")
    before = machine.configuration()
    diff = page.expect("+insecure = true", within=PODMAN)
    assert f'+location = "{app.registry}"' in diff

    page.click("push button", "Apply", within=PODMAN)
    page.expect("Pushed a tiny image in", within=PODMAN)
    page.expect(f"Podman, Buildah and Skopeo push to {app.registry}", within=PODMAN)
    desktop.screenshot(tmp_path / "done.png")
    assert machine.images() == []
    expect_no_trace_of_the_proof(app, docker_registry)
    machine.push_and_pull_with_each(app.registry, tmp_path)
    app.run("wait", "--timeout", "60")
    assert docker_registry.tags("team/podman") == ["1"]

    page.click("push button", "Undo", within=PODMAN)
    page.expect("is removed, as it wasn't there before", within=PODMAN)
    page.find("push button", "Apply", within=PODMAN)
    assert machine.configuration() == before


def test_what_cannot_be_proved_is_said_in_the_card_and_put_back(
    app: DesktopOnMachine, page: ScreenReader, own_dockerd: Dockerd
) -> None:
    before = own_dockerd.config_file.read_bytes()
    manifests = app.data_dir / "manifests"
    manifests.rmdir()
    manifests.write_text("a disk that takes nothing")
    page.click("push button", "Apply", within=DOCKER)
    page.expect(f"Docker could not push to {app.registry}", within=DOCKER)
    until(lambda: own_dockerd.config_file.read_bytes() == before, 30, "daemon.json is as it was")
    page.find("push button", "Apply", within=DOCKER)


def test_by_keyboard_alone(app: DesktopOnMachine, page: ScreenReader, desktop: Desktop, own_dockerd: Dockerd) -> None:
    before = own_dockerd.config_file.read_bytes()
    page.find("push button", "Apply", within=DOCKER)
    focus_by_tab(page, desktop, "Apply")
    desktop.key("space")
    page.expect("Pushed a tiny image in", within=DOCKER)
    until(lambda: page.find("push button", "Prove it", within=DOCKER).focused, 30, "the focus stays in the card")
    desktop.key("Tab")
    until(lambda: page.find("push button", "Undo", within=DOCKER).focused, 30, "Tab goes on to the next button")
    desktop.key("space")
    page.expect("is byte for byte as it was before", within=DOCKER)
    until(lambda: page.find("push button", "Apply", within=DOCKER).focused, 30, "the focus stays in the card")
    assert own_dockerd.config_file.read_bytes() == before


def focus_by_tab(page: ScreenReader, desktop: Desktop, name: str) -> None:
    """Press Tab until Docker's button of that name has the focus."""
    for _ in range(30):
        if page.find("push button", name, within=DOCKER).focused:
            return
        desktop.key("Tab")
    raise AssertionError(f"Tab never comes to {name}")
