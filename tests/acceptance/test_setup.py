"""`yarddesk setup` against an instance that runs, with a real dockerd and real podman, buildah and skopeo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.machines import PodmanMachine, registries_of
from tests.acceptance.settings import push_everything_to
from tests.peers.dockerd import Dockerd
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.engine_files import DAEMON_JSON
from tests.support.images import build_image, write_docker_archive
from tests.support.programs import CommandLine
from yarddesk.engines import PROOF_REPOSITORY

PROOF = str(PROOF_REPOSITORY)


@pytest.fixture
def serve(make_yarddesk: Callable[..., YarddeskProcess], docker_registry: DockerRegistry) -> YarddeskProcess:
    """On localhost, which is what podman needs to be told of; all that is pushed goes to a real registry."""
    return make_yarddesk(config=push_everything_to(docker_registry.host), host="localhost")


class Setup:
    """`yarddesk setup` with the folders of an instance, on a machine of the test's.

    inside: makes of a command line one that runs there. variables: of that machine.
    """

    def __init__(
        self,
        app: YarddeskProcess,
        variables: Mapping[str, str],
        inside: Callable[..., Sequence[str]] = lambda *command: command,
    ) -> None:
        self._app = app
        self._line = CommandLine(
            inside(sys.executable, "-m", "yarddesk", "setup"), environment=app.environment | dict(variables)
        )

    def __call__(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        folders = ("--config", str(self._app.config_file), "--data-dir", str(self._app.data_dir))
        return self._line.run(*arguments, *folders, status=status)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def state(self, engine: str) -> dict[str, Any]:
        """What it lists of an engine."""
        listed = self.json()["engines"]
        return next(each for each in listed if each["engine"] == engine)


def expect_no_trace_of_the_proof(serve: YarddeskProcess, registry: DockerRegistry) -> None:
    """The proof's image is not here any more, was never queued, and no upstream was ever asked about it."""
    assert serve.tags(PROOF) == []
    assert json.loads(serve.request("GET", "/v2/_catalog")[2])["repositories"] == []
    assert serve.control("queue")["jobs"] == []
    assert serve.control("history")["entries"] == []
    assert not registry.seen(path=PROOF)
    blobs = [path for path in (serve.data_dir / "blobs").rglob("*") if path.is_file()]
    assert blobs == []


# Docker Engine


def docker_setup(app: YarddeskProcess, daemon: Dockerd) -> Setup:
    return Setup(app, {"DOCKER_HOST": daemon.address})


@pytest.mark.xdist_group("dockerd")
@pytest.mark.parametrize(
    "text",
    [None, "{}", DAEMON_JSON, DAEMON_JSON.replace("\n", "\r\n")],
    ids=["no file", "the default", "other keys and mirrors", "line ends of Windows"],
)
def test_docker_is_set_up_proved_and_put_back_to_the_byte(
    serve: YarddeskProcess, docker_registry: DockerRegistry, own_dockerd: Dockerd, tmp_path: Path, text: str | None
) -> None:
    config = own_dockerd.config_file
    if text is None:
        config.unlink()
    else:
        own_dockerd.configure(text)
    content = None if text is None else config.read_bytes()
    before = registries_of(own_dockerd)
    setup = docker_setup(serve, own_dockerd)

    found = setup.state("docker")
    assert (found["state"], found["running"], found["undoable"]) == ("not set up", True, False)
    assert (found["config"], found["socket"]) == (str(config), str(own_dockerd.socket))
    listing = setup().stdout
    assert "docker  not set up" in listing
    assert str(config) in listing

    shown = setup("docker", "--dry-run")
    assert serve.registry in shown.stdout
    assert "SIGHUP" in shown.stderr
    assert (config.read_bytes() if config.exists() else None) == content

    done = setup("docker")
    assert "Pushed a tiny image in" in done.stdout
    assert f"is set up for {serve.registry}" in done.stdout
    assert registries_of(own_dockerd) == before | {"insecure": sorted([*before["insecure"], serve.registry])}
    wanted = json.loads(text or "{}")
    wanted["insecure-registries"] = [*wanted.get("insecure-registries", []), serve.registry]
    assert json.loads(config.read_text()) == wanted
    assert setup.state("docker")["state"] == "set up"
    client = own_dockerd.client(tmp_path)
    assert client.run("images", "--all", "--quiet").stdout == ""
    expect_no_trace_of_the_proof(serve, docker_registry)
    assert setup.json("docker") == {"engine": "docker", "address": serve.registry, "diff": "", "proved": True}

    name = f"{serve.registry}/team/app:1"
    client.load(write_docker_archive(tmp_path / "image.tar", build_image("set up"), name))
    client.push(name)
    serve.run("wait", "team/app:1", "--timeout", "60")
    assert docker_registry.tags("team/app") == ["1"]
    client.run("rmi", name)

    undone = setup.json("docker", "--undo")
    assert undone == {"engine": "docker", "files": [str(config)], "to_the_byte": True}
    assert (config.read_bytes() if config.exists() else None) == content
    assert registries_of(own_dockerd) == before
    found = setup.state("docker")
    assert (found["state"], found["undoable"]) == ("not set up", False)
    assert "nothing to undo" in setup("docker", "--undo", status=1).stderr


@pytest.mark.xdist_group("dockerd")
def test_what_cannot_be_proved_is_put_back(serve: YarddeskProcess, own_dockerd: Dockerd) -> None:
    own_dockerd.configure(DAEMON_JSON)
    before = registries_of(own_dockerd)
    full = serve.data_dir / "manifests"
    full.rmdir()
    full.write_text("a disk that takes nothing")
    refused = docker_setup(serve, own_dockerd)("docker", status=1)
    assert f"Docker could not push to {serve.registry}" in refused.stderr
    assert own_dockerd.config_file.read_text() == DAEMON_JSON
    assert registries_of(own_dockerd) == before
    assert not docker_setup(serve, own_dockerd).state("docker")["undoable"]


@pytest.mark.xdist_group("dockerd")
@pytest.mark.parametrize("ended", ["in good order", "by SIGKILL"])
def test_without_an_instance_it_says_so_but_shows_and_undoes(
    serve: YarddeskProcess, own_dockerd: Dockerd, ended: str
) -> None:
    before = own_dockerd.config_file.read_bytes()
    setup = docker_setup(serve, own_dockerd)
    setup("docker")
    if ended == "by SIGKILL":
        serve.kill()
    else:
        serve.terminate()
    refused = setup("docker", status=1)
    assert f"No yarddesk is running on {serve.data_dir}" in refused.stderr
    assert setup.state("docker")["undoable"]
    assert "byte for byte" in setup("docker", "--undo").stdout
    assert own_dockerd.config_file.read_bytes() == before
    assert "insecure-registries" in setup("docker", "--dry-run").stdout
    refused = setup("docker", status=1)
    assert f"No yarddesk is running on {serve.data_dir}" in refused.stderr
    assert own_dockerd.config_file.read_bytes() == before


def test_a_docker_that_does_not_run_is_set_up_for_its_next_start(serve: YarddeskProcess, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore=shutil.ignore_patterns("docker"))

    def inside(*command: str) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc), *command]

    setup = Setup(serve, {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}, inside)
    found = setup.state("docker")
    assert (found["state"], found["running"], found["config"]) == ("not set up", False, "/etc/docker/daemon.json")
    done = setup("docker")
    assert "Docker isn't running" in done.stderr
    assert "it reads this when it starts" in done.stdout
    assert json.loads((etc / "docker/daemon.json").read_text()) == {"insecure-registries": [serve.registry]}
    assert setup.state("docker")["undoable"]
    assert "removed" in setup("docker", "--undo").stdout
    assert not (etc / "docker").exists()


def test_an_engine_that_nobody_knows_is_2(serve: YarddeskProcess) -> None:
    refused = Setup(serve, {})("rocket", status=2)
    assert "docker, podman" in refused.stderr


# Podman with buildah and skopeo


@pytest.mark.parametrize("others", [False, True], ids=["from the default", "beside other keys and mirrors"])
def test_podman_buildah_and_skopeo_are_set_up_proved_and_put_back_to_the_byte(
    serve: YarddeskProcess, docker_registry: DockerRegistry, short_path: Path, tmp_path: Path, others: bool
) -> None:
    machine = PodmanMachine(short_path / "p")
    if others:
        machine.add_other_settings()
    before = machine.configuration()
    setup = Setup(serve, machine.variables, machine.inside)
    asks_by_https = f'Get "https://{serve.registry}/v2/"'
    file = machine.etc / "registries.conf.d" / "50-yarddesk.conf"

    found = setup.state("podman")
    assert (found["state"], found["undoable"]) == ("not set up", False)
    assert found["config"] == "/etc/containers/registries.conf.d/50-yarddesk.conf"
    assert asks_by_https in machine.run("podman", "pull", f"{serve.registry}/team/none:1", status=125)

    shown = setup("podman", "--dry-run")
    assert f'+location = "{serve.registry}"' in shown.stdout
    assert machine.configuration() == before

    done = setup("podman")
    assert "Pushed a tiny image in" in done.stdout
    assert file.exists()
    assert {path: text for path, text in machine.configuration().items() if path != str(file)} == before
    assert setup.state("podman")["state"] == "set up"
    assert machine.images() == []
    expect_no_trace_of_the_proof(serve, docker_registry)
    assert setup.json("podman")["proved"] is True

    machine.push_and_pull_with_each(serve.registry, tmp_path)
    serve.run("wait", "--timeout", "60")
    for name in ("podman", "buildah", "skopeo"):
        assert docker_registry.tags(f"team/{name}") == ["1"]

    undone = setup("podman", "--undo")
    assert "removed, as it wasn't there before" in undone.stdout
    assert machine.configuration() == before
    assert setup.state("podman")["state"] == "not set up"
    assert "nothing to undo" in setup("podman", "--undo", status=1).stderr
    refused = machine.run("podman", "pull", f"{serve.registry}/team/podman:1", status=125)
    assert asks_by_https in refused


def test_podman_is_not_set_up_without_an_instance(serve: YarddeskProcess, short_path: Path) -> None:
    machine = PodmanMachine(short_path / "p")
    before = machine.configuration()
    serve.terminate()
    refused = Setup(serve, machine.variables, machine.inside)("podman", status=1)
    assert f"No yarddesk is running on {serve.data_dir}" in refused.stderr
    assert machine.configuration() == before
