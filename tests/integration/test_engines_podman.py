"""A real podman is set up, proved and put back, and buildah and skopeo with it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers.engines import Buildah, Podman, Skopeo, config_folder
from tests.peers.registry import DockerRegistry
from tests.support.engine_files import DROP_IN, REGISTRIES_CONF
from tests.support.images import build_image, write_oci_layout
from tests.support.programs import CommandLine
from yarddesk.engines import (
    PROOF_REPOSITORY,
    ContainerEngine,
    Ended,
    EngineEnvironment,
    ProofFailed,
    RegistryAddress,
    SetupState,
    find,
)


def environment_of(podman: Podman) -> EngineEnvironment:
    """The environment that the peer's options amount to, for a podman that gets no options."""
    home = podman.home
    storage = home / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{home / "store"}"\nrunroot = "{home / "run/store"}"\n',
        encoding="utf-8",
    )
    containers = home / "containers.conf"
    containers.write_text(
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "{home / "run/libpod"}"\n',
        encoding="utf-8",
    )
    environ = podman.environment | {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)}
    # As another user than root: what root's own configuration is, these tests leave alone.
    return EngineEnvironment(home, home / "etc", home / "run", Path("/proc"), environ, user=1000)


@pytest.fixture
def engine(podman: Podman) -> ContainerEngine:
    return find("podman", environment_of(podman), podman.home / "state")


@pytest.fixture
def address(docker_registry: DockerRegistry) -> RegistryAddress:
    return RegistryAddress("localhost", docker_registry.port)


def configuration(podman: Podman) -> dict[str, bytes | None]:
    paths = sorted((podman.home / ".config").rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("others", [False, True], ids=["from the default", "beside other keys and mirrors"])
async def test_podman_buildah_and_skopeo_are_set_up_proved_and_put_back_to_the_byte(
    podman: Podman,
    engine: ContainerEngine,
    address: RegistryAddress,
    docker_registry: DockerRegistry,
    tmp_path: Path,
    others: bool,
) -> None:
    if others:
        write(config_folder(podman.home) / "registries.conf", REGISTRIES_CONF)
        write(config_folder(podman.home) / "registries.conf.d/20-other.conf", DROP_IN)
    before = configuration(podman)
    assert (await engine.status(address)).state is SetupState.NOT_SET_UP
    with pytest.raises(ProofFailed, match="Podman could not push to") as refused:
        await engine.prove(address)
    assert "HTTP response to HTTPS client" in refused.value.message

    plan = await engine.plan(address)
    assert "insecure = true" in plan.diff()
    proof = await engine.apply(plan)

    assert proof is not None
    assert not proof.note
    status = await engine.status(address)
    assert (status.state, status.programs) == (SetupState.SET_UP, ("podman", "buildah", "skopeo"))
    assert podman.run("images", "--all", "--quiet").stdout == ""
    assert not docker_registry.tags(PROOF_REPOSITORY)
    for name in (f"localhost:{address.port}", f"127.0.0.1:{address.port}"):
        push_with_each(podman, name, tmp_path)

    assert (await engine.undo()).to_the_byte
    assert configuration(podman) == before
    again = podman.run("pull", f"{address}/team/podman:1", status=None)
    assert "HTTP response to HTTPS client" in again.stderr


def push_with_each(podman: Podman, address: str, folder: Path) -> None:
    """Each of the three pushes and pulls by the configuration alone, with no option that allows plain HTTP."""
    podman.load(build_image(f"podman to {address}"), f"{address}/team/podman:1")
    podman.push(f"{address}/team/podman:1", tls_verify=True)
    podman.pull(f"{address}/team/podman:1", tls_verify=True)
    buildah = Buildah(podman.home)
    buildah.build(f"{address}/team/buildah:1", {"/one": address})
    buildah.push(f"{address}/team/buildah:1", tls_verify=True)
    buildah.pull(f"{address}/team/buildah:1", tls_verify=True)
    layout = write_oci_layout(folder / address.replace(":", "-"), build_image(f"skopeo to {address}"))
    skopeo = CommandLine(["skopeo"], environment=Skopeo(podman.home).environment)
    skopeo.run("copy", layout, f"docker://{address}/team/skopeo:1")
    skopeo.run("inspect", "--raw", f"docker://{address}/team/skopeo:1")


async def test_a_set_up_that_cannot_be_proved_is_rolled_back(
    podman: Podman, engine: ContainerEngine, address: RegistryAddress, docker_registry: DockerRegistry
) -> None:
    before = configuration(podman)
    docker_registry.stop()
    with pytest.raises(ProofFailed, match="could not push to"):
        await engine.apply(await engine.plan(address))
    assert configuration(podman) == before
    assert not (await engine.status(address)).undoable


@pytest.mark.parametrize("program", ["buildah", "skopeo"])
async def test_either_of_the_others_alone_proves_it_too(
    podman: Podman, address: RegistryAddress, docker_registry: DockerRegistry, program: str
) -> None:
    environment = environment_of(podman)
    alone = podman.home / "alone"
    alone.mkdir()
    # Their helpers stay where they are; only the other two are out of sight.
    (alone / program).symlink_to(environment.program(program) or program)
    environ = {**environment.environ, "PATH": str(alone)}
    engine = find("podman", replace(environment, environ=environ, system_folders=()), podman.home / "state")
    assert (await engine.status(address)).programs == (program,)
    assert await engine.apply(await engine.plan(address)) is not None
    assert not docker_registry.tags(PROOF_REPOSITORY)


async def test_for_root_the_systems_folder_is_set_up(
    podman: Podman, address: RegistryAddress, docker_registry: DockerRegistry
) -> None:
    etc = podman.home / "etc"
    write(etc / "containers/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')

    def execute(command: Sequence[str], environ: Mapping[str, str], limit_seconds: float) -> Ended:
        """As on a machine whose /etc/containers is this one."""
        script = 'mount --bind "$0" /etc/containers && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", script, str(etc / "containers"), *command]
        done = subprocess.run(inside, env=dict(environ), capture_output=True, text=True, timeout=limit_seconds)
        return Ended(done.returncode, done.stdout, done.stderr)

    environment = replace(environment_of(podman), user=0, execute=execute)
    engine = find("podman", environment, podman.home / "state")
    with pytest.raises(ProofFailed, match="Podman could not push to"):
        await engine.prove(address)
    assert await engine.apply(await engine.plan(address)) is not None
    assert (etc / "containers/registries.conf.d/50-yarddesk.conf").exists()
    assert (await engine.undo()).to_the_byte
    assert not (etc / "containers/registries.conf.d").exists()
