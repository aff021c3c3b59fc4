"""A real dockerd is set up, proved and put back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.dockerd import Dockerd
from tests.peers.registry import DockerRegistry
from tests.support.engine_files import DAEMON_JSON
from tests.support.images import build_image, write_docker_archive
from tests.support.programs import clean_environment, tool
from yarddesk.engines import (
    PROOF_REPOSITORY,
    ContainerEngine,
    EngineEnvironment,
    EngineError,
    ProofFailed,
    RegistryAddress,
    SetupState,
    find,
)

pytestmark = pytest.mark.xdist_group("dockerd")


def environment_of(daemon: Dockerd) -> EngineEnvironment:
    folder = daemon.folder
    environ = clean_environment(folder / "home", {"DOCKER_HOST": daemon.address})
    return EngineEnvironment(folder / "home", folder / "etc", folder / "run", Path("/proc"), environ, user=0)


def engine_of(daemon: Dockerd) -> ContainerEngine:
    return find("docker", environment_of(daemon), daemon.folder / "state")


def address_of(registry: DockerRegistry, host: str = "localhost") -> RegistryAddress:
    return RegistryAddress(host, registry.port)


def registries(daemon: Dockerd) -> dict[str, Any]:
    """What the engine itself says of registries."""
    client = daemon.client(daemon.folder / "client")
    found: dict[str, Any] = json.loads(client.run("info", "--format", "{{json .RegistryConfig}}").stdout)
    return {"insecure": {name for name, index in found["IndexConfigs"].items() if not index["Secure"]}} | found


def images(daemon: Dockerd) -> str:
    return daemon.client(daemon.folder / "client").run("images", "--all", "--quiet").stdout


@pytest.mark.parametrize("text", ["{}", DAEMON_JSON, '{"insecure-registries":[]}\r\n', None])
async def test_docker_is_set_up_proved_and_put_back_to_the_byte(
    own_dockerd: Dockerd, docker_registry: DockerRegistry, text: str | None
) -> None:
    config = own_dockerd.config_file
    if text is None:
        config.unlink()
    else:
        own_dockerd.configure(text)
    before = registries(own_dockerd)
    engine, address = engine_of(own_dockerd), address_of(docker_registry)
    status = await engine.status(address)
    assert (status.state, status.running, status.config) == (SetupState.NOT_SET_UP, True, config)
    assert status.version.startswith(version_of(own_dockerd))

    plan = await engine.plan(address)
    assert str(address) in plan.diff()
    assert "SIGHUP" in plan.reload
    proof = await engine.apply(plan)

    assert proof is not None
    assert "Pushed a tiny image" in proof.sentence
    assert not proof.note
    assert json.loads(config.read_text()) == json.loads(text or "{}") | {
        "insecure-registries": [*json.loads(text or "{}").get("insecure-registries", []), str(address)]
    }
    assert registries(own_dockerd)["insecure"] == before["insecure"] | {str(address)}
    assert (await engine.status(address)).state is SetupState.SET_UP
    assert images(own_dockerd) == ""
    assert docker_registry.seen("PUT", rf"/v2/{PROOF_REPOSITORY}/manifests/")
    assert not docker_registry.tags(PROOF_REPOSITORY)

    undone = await engine.undo()
    assert undone.to_the_byte
    assert (config.read_bytes() if config.exists() else None) == (None if text is None else text.encode())
    assert registries(own_dockerd) == before
    assert not list((own_dockerd.folder / "state").iterdir())


def version_of(daemon: Dockerd) -> str:
    return daemon.client(daemon.folder / "client").run("version", "--format", "{{.Server.Version}}").stdout.strip()


async def test_what_docker_wanted_https_for_goes_over_plain_http_after_the_set_up(
    own_dockerd: Dockerd, docker_registry: DockerRegistry
) -> None:
    # A loopback address that this dockerd doesn't take for one by itself.
    address = address_of(docker_registry, "box.lan.localdomain.test")
    engine = engine_of(own_dockerd)
    status = await engine.status(address)
    assert status.takes_address is False
    await engine.apply(await engine.plan(address), prove=False)
    assert str(address) in registries(own_dockerd)["insecure"]
    await engine.undo()
    assert str(address) not in registries(own_dockerd)["insecure"]


async def test_a_person_pushes_and_pulls_after_the_set_up(
    own_dockerd: Dockerd, docker_registry: DockerRegistry, tmp_path: Path
) -> None:
    engine, address = engine_of(own_dockerd), address_of(docker_registry)
    await engine.apply(await engine.plan(address))
    name = f"{address}/team/app:1"
    client = own_dockerd.client(tmp_path)
    client.load(write_docker_archive(tmp_path / "image.tar", build_image("set up", (1000, 2000)), name))
    client.push(name)
    client.run("rmi", name)
    client.pull(name)
    assert docker_registry.tags("team/app") == ["1"]


async def test_a_set_up_that_cannot_be_proved_is_rolled_back(
    own_dockerd: Dockerd, docker_registry: DockerRegistry
) -> None:
    own_dockerd.configure(DAEMON_JSON)
    before = registries(own_dockerd)
    docker_registry.stop()
    engine, address = engine_of(own_dockerd), address_of(docker_registry)
    with pytest.raises(ProofFailed, match=r"could not push to localhost:\d+") as caught:
        await engine.apply(await engine.plan(address))
    assert "connection refused" in caught.value.message
    assert own_dockerd.config_file.read_text() == DAEMON_JSON
    assert registries(own_dockerd) == before
    assert images(own_dockerd) == ""
    assert not (await engine.status(address)).undoable


async def test_a_configuration_that_docker_refuses_is_rolled_back(
    own_dockerd: Dockerd, docker_registry: DockerRegistry
) -> None:
    text = '{"nobody-knows-this": true}'
    own_dockerd.config_file.write_text(text, encoding="utf-8")
    engine, address = engine_of(own_dockerd), address_of(docker_registry)
    with pytest.raises(EngineError, match="did not take the new configuration"):
        await engine.apply(await engine.plan(address))
    assert own_dockerd.config_file.read_text() == text
    assert not (await engine.status(address)).undoable


async def test_a_new_port_is_proved_in_place_of_the_old_one(
    own_dockerd: Dockerd, make_registry: Callable[..., DockerRegistry]
) -> None:
    text = own_dockerd.config_file.read_text()
    engine = engine_of(own_dockerd)
    first, second = address_of(make_registry()), address_of(make_registry())
    await engine.apply(await engine.plan(first))
    await engine.apply(await engine.plan(second))
    assert registries(own_dockerd)["insecure"] == {str(second)}
    assert (await engine.undo()).to_the_byte
    assert own_dockerd.config_file.read_text() == text
    assert registries(own_dockerd)["insecure"] == set()


async def test_the_caller_can_delete_the_proof_itself(own_dockerd: Dockerd, docker_registry: DockerRegistry) -> None:
    asked: list[tuple[str, str]] = []

    async def sweep(repository: str, tag: str) -> None:
        asked.append((repository, tag))

    proof = await engine_of(own_dockerd).prove(address_of(docker_registry), sweep=sweep)
    assert asked == [(PROOF_REPOSITORY, proof.reference.rpartition(":")[2])]
    assert docker_registry.tags(PROOF_REPOSITORY) == [asked[0][1]]


async def test_a_registry_that_keeps_what_it_has_is_no_failure(
    own_dockerd: Dockerd, make_registry: Callable[..., DockerRegistry], tmp_path: Path
) -> None:
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "kept")}, "delete": {"enabled": False}}
    registry = make_registry(settings={"storage": storage})
    proof = await engine_of(own_dockerd).prove(address_of(registry))
    assert PROOF_REPOSITORY in proof.note


async def test_a_mirror_is_not_promised_to_a_docker_that_refuses_it(
    own_dockerd: Dockerd, docker_registry: DockerRegistry
) -> None:
    with pytest.raises(EngineError, match="no mirror with a path"):
        await engine_of(own_dockerd).plan(address_of(docker_registry), mirror=True)


@pytest.fixture
def flagged_dockerd(short_path: Path) -> Iterator[Dockerd]:
    engine = Dockerd(short_path / "d", flags=("--insecure-registry=10.0.0.1:5000",))
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


async def test_flags_of_the_running_docker_are_seen(flagged_dockerd: Dockerd, docker_registry: DockerRegistry) -> None:
    engine = engine_of(flagged_dockerd)
    there = RegistryAddress.parse("10.0.0.1:5000")
    assert (await engine.plan(there)).empty
    with pytest.raises(EngineError, match="started with --insecure-registry"):
        await engine.plan(RegistryAddress.parse("10.0.0.2:5000"))
    # What it takes by itself needs no entry, and can be proved.
    address = address_of(docker_registry)
    assert (await engine.status(address)).state is SetupState.SET_UP
    assert await engine.apply(await engine.plan(address)) is not None


async def test_docker_that_has_ended_is_set_up_for_its_next_start(
    own_dockerd: Dockerd, docker_registry: DockerRegistry
) -> None:
    own_dockerd.stop()
    engine, address = engine_of(own_dockerd), address_of(docker_registry)
    status = await engine.status(address)
    assert status.running is False
    plan = await engine.plan(address)
    assert await engine.apply(plan) is None
    assert json.loads(plan.changes[0].path.read_text()) == {"insecure-registries": [str(address)]}
    with pytest.raises(EngineError, match="isn't running"):
        await engine.prove(address)
    assert (await engine.undo()).to_the_byte


AS_NOBODY = """
import asyncio, os, sys
from dataclasses import replace
from pathlib import Path
from tests.integration.test_engines_docker import EngineEnvironment, EngineError, RegistryAddress, clean_environment, find

folder, socket, port, elevate = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
environ = clean_environment(folder, {"DOCKER_HOST": f"unix://{socket}"})
environment = EngineEnvironment(folder, folder / "etc", folder / "run", Path("/proc"), environ, 65534)
engine = find("docker", replace(environment, elevate=tuple(elevate)), folder / "state")
address = RegistryAddress.parse(f"localhost:{port}")

async def main():
    # What is imported late must be there before the interpreter's own folder is out of reach.
    await asyncio.to_thread("".encode, "idna")
    os.setresgid(65534, 65534, 65534)
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
    plan = await engine.plan(address)
    print((await engine.apply(plan)).sentence)
    print(plan.changes[0].path.read_text())
    print((await engine.undo()).sentence)

try:
    asyncio.run(main())
except EngineError as error:
    print(error)
"""


@pytest.fixture
def of_nobody(short_path: Path) -> Path:
    """A folder of a user without any rights, which others can look into."""
    short_path.chmod(0o755)
    os.chown(short_path, 65534, 65534)
    return short_path


def run_as_nobody(daemon: Dockerd, folder: Path, registry: DockerRegistry, *elevate: str) -> str:
    daemon.folder.chmod(0o755)
    daemon.socket.chmod(0o666)
    command = [sys.executable, "-c", AS_NOBODY, str(folder), str(daemon.socket), str(registry.port), *elevate]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_user_without_rights_sets_up_once_root_is_granted(
    own_dockerd: Dockerd, docker_registry: DockerRegistry, of_nobody: Path
) -> None:
    own_dockerd.configure(DAEMON_JSON)
    before = registries(own_dockerd)
    # In place of pkexec, which asks a person: a setuid program that grants at once.
    granting = of_nobody / "grant"
    shutil.copy(tool("setpriv"), granting)
    granting.chmod(0o4755)
    words = run_as_nobody(
        own_dockerd, of_nobody, docker_registry, str(granting), "--reuid=0", "--regid=0", "--clear-groups"
    )
    assert "Pushed a tiny image" in words
    assert f'"10.1.0.0/16", "localhost:{docker_registry.port}"' in words.replace("\n\t\t", " ")
    assert "byte for byte" in words
    assert own_dockerd.config_file.read_text() == DAEMON_JSON
    assert own_dockerd.config_file.stat().st_uid == 0
    assert registries(own_dockerd) == before


async def test_a_user_without_rights_is_told_how(
    own_dockerd: Dockerd, docker_registry: DockerRegistry, of_nobody: Path
) -> None:
    text = own_dockerd.config_file.read_text()
    words = run_as_nobody(own_dockerd, of_nobody, docker_registry)
    assert "belongs to root" in words
    assert f"sudo yarddesk setup docker --data-dir {of_nobody}" in words
    assert own_dockerd.config_file.read_text() == text
    assert not list((of_nobody / "state").iterdir())
