"""Docker Engine that is installed and doesn't run: what is planned, written and put back."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from tests.unit.engines.conftest import ADDRESS, Machine
from yarddesk.engines import (
    ChangedMeanwhile,
    ConfigurationInvalid,
    ContainerEngine,
    EngineError,
    EngineNotFound,
    RegistryAddress,
    SetupState,
    find,
)

OTHER_KEYS = """{
    "log-level": "warn",
    "insecure-registries": ["10.0.0.1:5000"],
    "proxies": {"http-proxy": "http://user:hidden-word@proxy.example:3128"},
    "registry-mirrors": [
        "https://mirror.example"
    ]
}
"""


@pytest.fixture
def docker(machine: Machine) -> ContainerEngine:
    machine.install("dockerd", "docker")
    return find("docker", machine.environment, machine.state_dir)


@pytest.fixture
def config(machine: Machine) -> Path:
    return machine.environment.etc / "docker/daemon.json"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


async def set_up(engine: ContainerEngine, address: RegistryAddress = ADDRESS, *, mirror: bool = False) -> None:
    await engine.apply(await engine.plan(address, mirror=mirror), prove=False)


async def test_a_machine_without_docker_says_so(machine: Machine) -> None:
    engine = find("docker", machine.environment, machine.state_dir)
    status = await engine.status(ADDRESS)
    assert (status.state, status.found) == (SetupState.ABSENT, False)
    with pytest.raises(EngineNotFound):
        await engine.plan(ADDRESS)


async def test_an_unknown_engine_is_named_with_those_that_there_are(machine: Machine) -> None:
    with pytest.raises(EngineNotFound, match="docker, podman"):
        find("lxc", machine.environment, machine.state_dir)


async def test_planning_writes_nothing(docker: ContainerEngine, machine: Machine) -> None:
    before = machine.everything()
    plan = await docker.plan(ADDRESS)
    assert not plan.empty
    assert '+  "insecure-registries": ["localhost:5050"]' in plan.diff()
    assert machine.everything() == before


async def test_a_machine_without_a_configuration_gets_one_and_loses_it_again(
    docker: ContainerEngine, machine: Machine, config: Path
) -> None:
    before = machine.everything()
    assert (await docker.status(ADDRESS)).state is SetupState.NOT_SET_UP
    await set_up(docker)
    assert json.loads(config.read_text()) == {"insecure-registries": ["localhost:5050"]}
    status = await docker.status(ADDRESS)
    assert (status.state, status.undoable, status.running) == (SetupState.SET_UP, True, False)
    undone = await docker.undo()
    assert undone.to_the_byte
    assert machine.everything() == before | {str(machine.state_dir): (0o40700, None)}


@pytest.mark.parametrize("text", ["", "{}", OTHER_KEYS, '{"a":1}', '\ufeff{\r\n"debug": false }'])
async def test_undoing_gives_every_byte_back(docker: ContainerEngine, config: Path, text: str) -> None:
    write(config, text)
    await set_up(docker, mirror=True)
    assert config.read_bytes() != text.encode()
    assert (await docker.undo()).to_the_byte
    assert config.read_bytes() == text.encode()


async def test_other_keys_and_mirrors_stay_and_our_mirror_is_asked_first(docker: ContainerEngine, config: Path) -> None:
    write(config, OTHER_KEYS)
    await set_up(docker, mirror=True)
    found = json.loads(config.read_text())
    assert found == json.loads(OTHER_KEYS) | {
        "insecure-registries": ["10.0.0.1:5000", "localhost:5050"],
        "registry-mirrors": ["http://localhost:5050/docker.io", "https://mirror.example"],
    }
    assert list(found) == list(json.loads(OTHER_KEYS))


async def test_no_secret_of_the_configuration_is_kept_or_shown(
    docker: ContainerEngine, config: Path, machine: Machine
) -> None:
    write(config, OTHER_KEYS.replace("10.0.0.1", "name:hidden-word@10.0.0.1"))
    plan = await docker.plan(ADDRESS)
    assert "hidden-word" not in repr(plan)
    write(config, OTHER_KEYS)
    plan = await docker.plan(ADDRESS)
    assert "proxy.example" in plan.diff()
    assert "hidden-word" not in plan.diff()
    await docker.apply(plan, prove=False)
    kept = b"".join(file.read_bytes() for file in machine.state_dir.iterdir())
    assert kept
    assert b"hidden-word" not in kept


async def test_what_undoes_a_set_up_is_for_its_user_alone(docker: ContainerEngine, machine: Machine) -> None:
    await set_up(docker)
    assert machine.state_dir.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in machine.state_dir.iterdir()} == {0o600}


async def test_owner_and_mode_of_the_file_stay(docker: ContainerEngine, config: Path) -> None:
    write(config, "{}")
    config.chmod(0o640)
    os.chown(config, 0, 4)
    await set_up(docker)
    found = config.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 0, 4)


async def test_a_link_stays_a_link(docker: ContainerEngine, config: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.json", "{}")
    config.parent.mkdir()
    config.symlink_to(tmp_path / "elsewhere.json")
    await set_up(docker)
    assert config.is_symlink()
    assert "localhost:5050" in (tmp_path / "elsewhere.json").read_text()


async def test_a_second_set_up_has_nothing_to_change(docker: ContainerEngine) -> None:
    await set_up(docker)
    assert (await docker.plan(ADDRESS)).empty


async def test_an_entry_of_somebody_elses_is_enough_and_is_not_undone(docker: ContainerEngine, config: Path) -> None:
    write(config, '{"insecure-registries": ["localhost:5050"]}')
    status = await docker.status(ADDRESS)
    assert (status.state, status.undoable) == (SetupState.SET_UP, False)
    with pytest.raises(EngineError, match="nothing to undo"):
        await docker.undo()


async def test_a_new_port_takes_the_place_of_the_old_one(docker: ContainerEngine, config: Path) -> None:
    write(config, OTHER_KEYS)
    await set_up(docker)
    await set_up(docker, RegistryAddress.parse("localhost:5051"))
    assert json.loads(config.read_text())["insecure-registries"] == ["10.0.0.1:5000", "localhost:5051"]
    assert (await docker.undo()).to_the_byte
    assert config.read_text() == OTHER_KEYS


async def test_a_file_that_changed_since_the_plan_is_left_alone(docker: ContainerEngine, config: Path) -> None:
    write(config, "{}")
    plan = await docker.plan(ADDRESS)
    write(config, '{"debug": true}')
    with pytest.raises(ChangedMeanwhile):
        await docker.apply(plan, prove=False)
    assert config.read_text() == '{"debug": true}'
    assert not (await docker.status(ADDRESS)).undoable


async def test_of_a_file_edited_since_only_our_part_goes(docker: ContainerEngine, config: Path) -> None:
    write(config, OTHER_KEYS)
    await set_up(docker, mirror=True)
    write(config, config.read_text().replace('"warn"', '"debug"'))
    undone = await docker.undo()
    assert not undone.to_the_byte
    assert "edited after" in undone.sentence
    assert config.read_text() == OTHER_KEYS.replace('"warn"', '"debug"')


async def test_a_file_of_ours_that_got_other_keys_stays_with_them(docker: ContainerEngine, config: Path) -> None:
    await set_up(docker)
    write(config, config.read_text().replace("{", '{\n  "debug": true,', 1))
    await docker.undo()
    assert json.loads(config.read_text()) == {"debug": True}


async def test_entries_that_others_added_to_our_list_stay(docker: ContainerEngine, config: Path) -> None:
    await set_up(docker)
    write(config, '{"insecure-registries": ["localhost:5050", "b:1"]}')
    await docker.undo()
    assert json.loads(config.read_text()) == {"insecure-registries": ["b:1"]}


async def test_a_file_put_back_by_hand_is_left_as_it_is(docker: ContainerEngine, config: Path) -> None:
    write(config, OTHER_KEYS)
    await set_up(docker)
    write(config, OTHER_KEYS)
    undone = await docker.undo()
    assert undone.to_the_byte
    assert config.read_text() == OTHER_KEYS
    assert not (await docker.status(ADDRESS)).undoable


async def test_a_set_up_that_ended_before_the_file_was_written_is_undone(
    docker: ContainerEngine, config: Path, machine: Machine
) -> None:
    write(config, OTHER_KEYS)
    await set_up(docker)
    (record,) = machine.state_dir.iterdir()
    kept = record.read_bytes()
    await docker.undo()
    record.write_bytes(kept)
    assert (await docker.undo()).to_the_byte
    assert config.read_text() == OTHER_KEYS
    assert not list(machine.state_dir.iterdir())


@pytest.mark.parametrize(("text", "left"), [(None, None), ('{"debug": true}', '{"debug": true}')])
async def test_an_undo_that_ended_between_its_two_steps_is_finished(
    docker: ContainerEngine, config: Path, text: str | None, left: str | None
) -> None:
    if text is not None:
        write(config, text)
    await set_up(docker)
    write(config, config.read_text().replace('["localhost:5050"]', "[]"))
    await docker.undo()
    assert (config.read_text() if config.exists() else None) == left


async def test_a_record_that_cannot_be_read_is_named(docker: ContainerEngine, machine: Machine) -> None:
    await set_up(docker)
    (record,) = machine.state_dir.iterdir()
    record.write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError, match=record.name):
        await docker.undo()


async def test_a_file_removed_by_hand_stays_removed(docker: ContainerEngine, config: Path) -> None:
    await set_up(docker)
    config.unlink()
    await docker.undo()
    assert not config.exists()


async def test_undoing_works_after_docker_was_removed(docker: ContainerEngine, config: Path, machine: Machine) -> None:
    await set_up(docker)
    (machine.folder / "bin/dockerd").unlink()
    await docker.undo()
    assert not config.exists()


async def test_invalid_json_is_named_with_its_line_and_without_its_text(docker: ContainerEngine, config: Path) -> None:
    write(config, '{\n  "proxies": "http://user:hidden-word@proxy",\n  "debug": tru\n}')
    status = await docker.status(ADDRESS)
    assert status.state is SetupState.BLOCKED
    assert "line 3" in status.sentence
    with pytest.raises(ConfigurationInvalid) as caught:
        await docker.plan(ADDRESS)
    assert "hidden-word" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text", ["[]", '{"insecure-registries": "localhost:5050"}', '{"insecure-registries": null}', "\udcff"]
)
async def test_what_docker_would_not_read_is_refused(docker: ContainerEngine, config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationInvalid, match=r"daemon\.json"):
        await docker.plan(ADDRESS)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("default/docker", 'DOCKER_OPTS="--insecure-registry=a:1 --debug"\n'),
        (
            "systemd/system/docker.service.d/own.conf",
            "[Service]\nExecStart=\nExecStart=dockerd --insecure-registry a:1\n",
        ),
    ],
)
async def test_a_flag_of_the_same_meaning_is_refused_with_a_way_out(
    docker: ContainerEngine, machine: Machine, file: str, text: str
) -> None:
    write(machine.environment.etc / file, text)
    with pytest.raises(EngineError, match="--insecure-registry") as caught:
        await docker.plan(ADDRESS)
    assert "--insecure-registry=localhost:5050" in caught.value.hint
    write(machine.environment.etc / file, f"# {text}".replace("\nExecStart", "\n# ExecStart"))
    assert not (await docker.plan(ADDRESS)).empty


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://build@host"])
async def test_an_engine_elsewhere_is_not_ours_to_set_up(machine: Machine, host: str) -> None:
    machine.install("dockerd")
    environment = machine.change(environ={**machine.environment.environ, "DOCKER_HOST": host})
    status = await find("docker", environment, machine.state_dir).status(ADDRESS)
    assert status.state is SetupState.BLOCKED
    assert "elsewhere" in status.sentence


async def test_the_context_that_was_chosen_is_followed(machine: Machine) -> None:
    machine.install("dockerd")
    write(machine.environment.home / ".docker/config.json", '{"currentContext": "far"}')
    digest = hashlib.sha256(b"far").hexdigest()
    meta = machine.environment.home / f".docker/contexts/meta/{digest}/meta.json"
    write(meta, '{"Name": "far", "Endpoints": {"docker": {"Host": "tcp://far:2375"}}}')
    status = await find("docker", machine.environment, machine.state_dir).status(ADDRESS)
    assert status.state is SetupState.BLOCKED


async def test_a_rootless_engine_has_its_configuration_in_the_users_folder(machine: Machine) -> None:
    machine.install("dockerd")
    runtime = machine.folder / "runtime"
    runtime.mkdir()
    (runtime / "docker.sock").touch()
    environ = {**machine.environment.environ, "XDG_RUNTIME_DIR": str(runtime)}
    engine = find("docker", machine.change(environ=environ, user=1000), machine.state_dir)
    await set_up(engine)
    assert (machine.environment.home / ".config/docker/daemon.json").exists()
    await engine.undo()
    assert not (machine.environment.home / ".config").exists()


async def test_a_socket_that_nobody_serves_any_more_is_an_engine_that_does_not_run(
    machine: Machine, short_path: Path
) -> None:
    machine.install("dockerd")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(short_path / "s"))
    environ = {**machine.environment.environ, "DOCKER_HOST": f"unix://{short_path}/s"}
    status = await find("docker", machine.change(environ=environ), machine.state_dir).status(ADDRESS)
    assert status.running is False


@pytest.mark.parametrize("platform", ["darwin", "win32"])
async def test_other_systems_are_told_where_to_put_it(machine: Machine, platform: str) -> None:
    engine = find("docker", machine.change(platform=platform), machine.state_dir)
    status = await engine.status(ADDRESS)
    assert status.state is SetupState.BLOCKED
    assert "Docker Desktop" in status.next_step


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":5050", "localhost:0", "localhost:70000", "a/b:1", "::1:5", "[x]:5"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="HOST:PORT"):
        RegistryAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("localhost:5050", True),
        ("127.0.0.1:1", True),
        ("[::1]:5050", True),
        ("10.0.0.1:80", False),
        ("box.lan:5050", False),
    ],
)
def test_an_address_knows_whether_it_stays_on_this_machine(text: str, loopback: bool) -> None:
    address = RegistryAddress.parse(text)
    assert (str(address), address.is_loopback) == (text, loopback)
