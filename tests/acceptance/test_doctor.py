"""`yarddesk doctor`, as a process, with real registries, a real keychain, a real podman, and no instance but where an engine is set up."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.acceptance.doctor import Doctor, everything_below, never_started
from tests.acceptance.machines import PodmanMachine
from tests.acceptance.settings import NOWHERE, push_everything_to
from tests.peers.registry import DockerRegistry, over_tls
from tests.peers.secret_service import SecretService
from tests.peers.yarddesk import YarddeskProcess
from tests.support.certificates import private_authority
from tests.support.disks import filled, small_disk
from tests.support.images import build_image
from tests.support.programs import CommandLine, Program
from tests.support.switchyard import SwitchyardFolder
from tests.support.waiting import until

USER = "ci"
PASSWORD = "pässword of ci"

MakeRegistry = Callable[..., DockerRegistry]
MakeYarddesk = Callable[..., YarddeskProcess]

# All that is in question is whether the rest of the file system can be written to.
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'

# Root without the right to read whatever it likes.
_RIGHTS = "-dac_override,-dac_read_search"
_WITHOUT_RIGHTS = ("setpriv", "--bounding-set", _RIGHTS, "--inh-caps", _RIGHTS)


@pytest.fixture
def machine(tmp_path: Path) -> YarddeskProcess:
    return never_started(tmp_path / "machine")


# Without an instance.


def test_before_the_first_start_all_is_looked_at_and_nothing_is_made(machine: YarddeskProcess) -> None:
    doctor = Doctor(machine)
    before = everything_below(machine.folder)
    shown = doctor().stdout
    for line in (
        f"ok       settings {machine.config_file}: The settings are read from this file.",
        f"ok       instance {machine.data_dir}: No yarddesk runs on this data folder.",
        f"ok       data folder {machine.data_dir}: It is not there yet; the first start makes it",
        "warning  keychain: There is no keychain on this machine.",
        "\n         -> ",
        "ok       upstream: There are none: all stays local.",
    ):
        assert line in shown
    assert shown.splitlines()[-1].startswith("Nothing is broken; ")
    changed = {path for path, _ in everything_below(machine.folder).items() ^ before.items()}
    # podman, which is asked for its version, makes folders of its own where others would look for its.
    assert not [path for path in changed if "containers" not in path and path not in _above_containers(machine)]
    assert not machine.data_dir.exists()


def _above_containers(machine: YarddeskProcess) -> list[str]:
    home = machine.folder / "home"
    return [str(home), *(str(home / each) for each in ("run", ".config", ".local", ".local/share", ".cache"))]


def test_it_says_which_settings_are_read_and_which_variables_count(tmp_path: Path) -> None:
    app = YarddeskProcess(
        tmp_path / "machine", config="upstreams: []\nserver: {port: 0, allowed_hosts: ['${NOT_SET}']}\n"
    )
    doctor = Doctor(app, variables={"YARDDESK_CACHE_MAX_SIZE": "1GB", "YARDDESK_CAHCE": "1", "SWITCHYARD_PORT": "1"})
    found = doctor.look().of("settings")
    said = [(each["state"], each["subject"], each["message"]) for each in found]
    assert said == [
        ("ok", str(app.config_file), "The settings are read from this file."),
        ("ok", "environment", "Heeded: YARDDESK_CACHE_MAX_SIZE."),
        ("warning", "environment", "YARDDESK_CAHCE is ignored: there is no such setting."),
        ("warning", "environment", "SWITCHYARD_PORT is not read; yarddesk's is YARDDESK_SERVER_PORT."),
        ("warning", "${NOT_SET}", "NOT_SET is not set, so ${NOT_SET} stands in the settings as it is."),
    ]


def test_without_a_settings_file_it_says_where_one_would_be(machine: YarddeskProcess) -> None:
    variables = {"YARDDESK_UPSTREAM": "", "YARDDESK_SERVER_PORT": "0"}
    line = CommandLine([sys.executable, "-m", "yarddesk", "doctor"], environment=machine.environment | variables)
    shown = line.run("--data-dir", str(machine.data_dir)).stdout
    where = Path(machine.environment["XDG_CONFIG_HOME"]) / "yarddesk" / "config.yaml"
    assert f"ok       settings {where}: There is no such file, so the defaults hold." in shown
    assert not where.parent.exists()


def test_wrong_settings_are_2_with_the_place_and_no_bundle(machine: YarddeskProcess, tmp_path: Path) -> None:
    machine.configure("server:\n  prot: 5050\n")
    refused = Doctor(machine)("--bundle", str(tmp_path / "b.tar.gz"), status=2)
    assert f"{machine.config_file}:2: server.prot: there is no such key" in refused.stderr
    assert not (tmp_path / "b.tar.gz").exists()
    # What a start would not take is told of as a start does.
    machine.configure("storage: {bucket: images}\n")
    assert "storage.bucket: " in Doctor(machine)(status=2).stderr


def test_a_port_that_somebody_else_holds_is_broken_and_says_who(machine: YarddeskProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        machine.configure(f"upstreams: []\nserver: {{port: {port}}}\n")
        found = Doctor(machine).look(status=1).one("port")
    assert found["state"] == "broken"
    assert f"Port {port} is taken by " in found["message"]
    assert f"(pid {os.getpid()})" in found["message"]
    assert "--port or server.port" in found["hint"]


def test_without_ipv6_the_missing_address_is_a_warning(machine: YarddeskProcess) -> None:
    machine.configure("upstreams: []\n")  # in a network of its own 5050 is free
    script = 'ip link set lo up && ip -6 addr flush dev lo && exec "$@"'
    doctor = Doctor(machine, inside=["unshare", "--net", "sh", "-c", script, "sh"])
    states = [(each["state"], each["message"][:18]) for each in doctor.look().of("port")]
    assert states == [("ok", "Port 5050 is free."), ("warning", "There is no ::1 he")]


def test_listening_beyond_this_machine_is_a_warning(machine: YarddeskProcess) -> None:
    machine.configure('upstreams: []\nserver: {host: "", port: 0}\n')
    found = Doctor(machine).look().of("port")
    assert [each["state"] for each in found] == ["ok", "warning"]
    assert "push and pull without a password" in found[1]["message"]


def test_a_data_folder_that_is_mounted_read_only_is_broken(machine: YarddeskProcess) -> None:
    machine.data_dir.mkdir(mode=0o700)
    before = everything_below(machine.folder / "data")
    doctor = Doctor(machine, inside=["unshare", "--mount", "sh", "-c", _READ_ONLY, str(machine.data_dir)])
    found = doctor.look(status=1).one("data folder")
    assert (found["state"], found["subject"]) == ("broken", str(machine.data_dir))
    assert "read-only" in found["message"]
    assert "data_dir" in found["hint"]
    # And where it isn't there, and the folder above is.
    machine.data_dir.rmdir()
    doctor = Doctor(machine, inside=["unshare", "--mount", "sh", "-c", _READ_ONLY, str(machine.folder)])
    assert "read-only" in doctor.look(status=1).one("data folder")["message"]
    assert everything_below(machine.data_dir) == before == {}


def test_a_file_in_its_place_is_broken_and_too_little_room_is_a_warning(machine: YarddeskProcess) -> None:
    machine.data_dir.write_text("a file")
    assert "a file is in the way" in Doctor(machine).look(status=1).one("data folder")["message"]
    assert machine.data_dir.read_text() == "a file"
    machine.data_dir.unlink()
    machine.configure(NOWHERE + "cache: {min_free: 900TB}\n")
    found = Doctor(machine).look().one("disk")
    assert found["state"] == "warning"
    assert "What is pulled is not kept" in found["message"]
    assert "cache.min_free" in found["hint"]


def test_a_folder_of_switchyards_that_others_may_read_is_told_of_and_stays_as_it_is(machine: YarddeskProcess) -> None:
    machine.data_dir.mkdir(mode=0o755)
    machine.data_dir.chmod(0o755)
    SwitchyardFolder(machine.data_dir).push("team/app", "1", build_image("of old"))
    before = everything_below(machine.data_dir)
    looked = Doctor(machine).look()
    found = looked.of("data folder")
    assert [each["state"] for each in found] == ["warning", "warning"]
    assert "its mode is 755" in found[0]["message"]
    assert "Switchyard's: the next start makes it ours" in found[1]["message"]
    assert looked.one("queue")["message"] == "1 image waits for the next start."
    assert everything_below(machine.data_dir) == before
    assert machine.data_dir.stat().st_mode & 0o777 == 0o755


def test_a_full_disk_is_broken(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        app = YarddeskProcess(tmp_path / "machine", config=NOWHERE, data_dir=disk / "data")
        app.data_dir.mkdir(mode=0o700)
        with filled(disk):
            found = Doctor(app).look(status=1).one("data folder")
    assert found["state"] == "broken"
    assert "The disk is full" in found["message"]
    assert "Free some space" in found["hint"]


def test_a_queue_that_cannot_be_looked_into_is_broken_and_not_empty(machine: YarddeskProcess) -> None:
    folder = machine.data_dir / "pending" / "team"
    folder.mkdir(parents=True)
    folder.chmod(0)
    looked = Doctor(machine, inside=_WITHOUT_RIGHTS).look(status=1)
    for check in ("queue", "data folder"):
        assert looked.one(check)["state"] == "broken"
        assert str(folder) in looked.one(check)["message"]


@pytest.mark.parametrize("what", ["a folder", "a file"])
def test_content_that_cannot_be_read_is_broken(machine: YarddeskProcess, what: str) -> None:
    path = machine.data_dir / "blobs" / "sha256" / "ab" / "abcd"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    (path.parent if what == "a folder" else path).chmod(0)
    found = Doctor(machine, inside=_WITHOUT_RIGHTS).look(status=1).one("data folder")
    assert found["state"] == "broken"
    assert str(path.parent) in found["message"]
    assert "Give the folder to this user" in found["hint"]


# The keychain.


@pytest.mark.parametrize(
    ("state", "found", "words"),
    [("unlocked", "ok", "can be read"), ("locked", "broken", "is locked"), ("absent", "warning", "no keychain")],
)
def test_the_keychain_is_told_of_and_nothing_is_put_into_it(
    machine: YarddeskProcess,
    short_path: Path,
    state: Literal["unlocked", "locked", "absent"],
    found: str,
    words: str,
) -> None:
    service = SecretService(short_path / "keychain", state)
    try:
        service.start()
        finding = Doctor(machine, variables=service.environment).look(status=int(found == "broken")).one("keychain")
    finally:
        service.stop()
    assert finding["state"] == found
    assert words in finding["message"]
    if found != "ok":
        assert "upstreams[].auth" in finding["hint"] or "Unlock" in finding["hint"]
        assert "Docker's config" in finding["hint"]


# Upstreams.


def upstream(name: str, registry: str, more: str = "", *, plain: bool = True, push: bool = True) -> str:
    return (
        f"  - {{name: {name}, prefix: {name}, registry: '{registry}', push: {str(push).lower()}, "
        f"tls: {{plain_http: {str(plain).lower()}}}{more}}}\n"
    )


def docker_config(folder: Path, registry: str, user: str, password: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    packed = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": packed}}}))
    return {"DOCKER_CONFIG": str(folder)}


def test_each_upstream_is_told_of_with_the_reason_and_who_is_signed_in(
    tmp_path: Path, make_registry: MakeRegistry, secret_service: SecretService, token_server: Any
) -> None:
    users = {USER: PASSWORD}
    by_settings, by_keychain, by_docker, nobody = (make_registry(users=users) for _ in range(4))
    by_token = make_registry(token=token_server.auth)
    open_to_all, stopped = make_registry(), make_registry()
    stopped.stop()
    certificate, key, _ = private_authority(tmp_path)
    secure = make_registry(settings=over_tls(certificate, key))
    auth = ", auth: {type: basic, username: ci, password: '${OF_CI}'}"
    config = (
        "server: {port: 0}\nupstreams:\n"
        + upstream("by-settings", by_settings.host, auth)
        + upstream("by-keychain", by_keychain.host)
        + upstream("by-docker", by_docker.host)
        + upstream("nobody", nobody.host, push=False)
        + upstream("by-token", by_token.host)
        + upstream("by-token-pulls", by_token.host, push=False)
        + upstream("open", open_to_all.host)
        + upstream("stopped", stopped.host)
        + upstream("secure", secure.host, plain=False)
        + upstream("unknown", "registry.invalid")
    )
    app = YarddeskProcess(tmp_path / "machine", config=config, environment=secret_service.environment)
    login = ("login", by_keychain.host, "--username", USER, "--password-stdin")
    app.run(*login, input_text=PASSWORD)
    variables = docker_config(tmp_path / "docker", by_docker.host, USER, "a wrong one") | {"OF_CI": PASSWORD}
    doctor = Doctor(app, variables=variables)
    found = {each["subject"]: each for each in doctor.look(status=1).of("upstream")}

    def said(name: str, state: str, *words: str) -> None:
        assert found[name]["state"] == state, found[name]
        for each in words:
            assert each in f"{found[name]['message']} {found[name]['hint']}", found[name]

    said("by-settings", "ok", "signed in as `ci`", "upstreams[].auth of by-settings")
    said("by-keychain", "ok", "signed in as `ci`", "the keychain")
    said(
        "by-docker",
        "broken",
        "refused the password for `ci`",
        str(tmp_path / "docker" / "config.json"),
        "yarddesk login",
    )
    said("nobody", "broken", "asks for a user name and password", f"yarddesk login {nobody.host}")
    said("by-token", "broken", "asks for a user name and password", f"yarddesk login {by_token.host}")
    said("by-token-pulls", "ok", "Nobody is signed in: what is public there can be pulled")
    said("open", "ok", "asks nobody who they are")
    said("stopped", "broken", f"{stopped.host} refused the connection", "Nothing listens there")
    said("secure", "broken", "is not trusted", "“a private authority”", "tls.ca_file")
    said("unknown", "broken", "registry.invalid was not found")
    for registry in (by_settings, by_keychain, by_docker, nobody, by_token, open_to_all):
        seen = until(registry.seen, what="what it was asked is in its log")
        asked = {(each.method, each.path) for each in seen}
        assert asked == {("GET", "/v2/")}, "no pull that anybody would count"
    shown = doctor(status=1).stdout
    assert PASSWORD not in shown
    assert "a wrong one" not in shown


def test_offline_nobody_is_asked(machine: YarddeskProcess, docker_registry: DockerRegistry) -> None:
    machine.configure(push_everything_to(docker_registry.host) + "server: {port: 0}\ncache: {offline: true}\n")
    found = Doctor(machine).look().one("upstream", "central")
    assert (found["state"], found["message"]) == ("warning", "It is not asked: cache.offline is set.")
    assert docker_registry.seen() == []


# Engines.


def test_an_engine_is_told_of_until_it_is_set_up_and_once_that_is_gone(
    make_yarddesk: MakeYarddesk, short_path: Path
) -> None:
    podman = PodmanMachine(short_path / "machine")
    serve = make_yarddesk(config=NOWHERE, host="localhost")
    doctor = Doctor(serve, inside=podman.inside(), variables=podman.variables)
    found = doctor.look().one("engine", "podman")
    assert (found["state"], found["hint"]) == ("warning", "Set it up: yarddesk setup podman")
    assert f"refuse {serve.registry}" in found["message"]
    before = podman.configuration()
    line = podman.inside(sys.executable, "-m", "yarddesk", "setup", "podman", "--data-dir", str(serve.data_dir))
    CommandLine(line, environment=serve.environment | podman.variables).run()
    found = doctor.look().one("engine", "podman")
    assert (found["state"], found["hint"]) == ("ok", "")
    (drop_in,) = podman.configuration().keys() - before.keys()
    Path(drop_in).unlink()
    found = doctor.look().one("engine", "podman")
    assert found["state"] == "warning"
    assert "It was set up, and is no longer as that left it" in found["message"]
    assert podman.configuration() == before


# Where it prints to, and who waits for it.


def test_what_the_terminal_has_no_letters_for_is_escaped(tmp_path: Path) -> None:
    app = YarddeskProcess(tmp_path / "machine", config=NOWHERE, data_dir=tmp_path / "größe")
    doctor = Doctor(app, variables={"PYTHONIOENCODING": "ascii"})
    assert f"data folder {tmp_path}/gr\\xf6\\xdfe: It is not there yet" in doctor().stdout
    assert doctor.look().one("data folder")["subject"] == str(app.data_dir)
    # And to nowhere.
    assert Doctor(app, inside=["sh", "-c", 'exec "$@" >&-', "sh"])().stderr == ""


def test_ctrl_c_ends_it_at_once_whatever_hangs(machine: YarddeskProcess) -> None:
    helper = machine.folder / "docker-credential-hangs"
    helper.write_text(f'#!/bin/sh\necho $$ > "{machine.folder}/asked"\nexec sleep 60\n')
    helper.chmod(0o700)
    (machine.folder / "config.json").write_text('{"credsStore": "hangs"}')
    machine.configure("server: {port: 0}\nupstreams: [{registry: '127.0.0.1:9'}]\n")
    path = f"{machine.folder}{os.pathsep}{machine.environment['PATH']}"
    environment = machine.environment | {"DOCKER_CONFIG": str(machine.folder), "PATH": path}
    command = [sys.executable, "-m", "yarddesk", "doctor", "-c", str(machine.config_file)]
    doctor = Program(command, environment=environment, log=machine.folder / "doctor.log")
    doctor.start()
    try:
        asked = machine.folder / "asked"
        until(lambda: asked.exists() and asked.read_text().endswith("\n"), 30, "the helper was asked")
        doctor.send(signal.SIGINT)
        assert doctor.wait(10) == 130
        os.kill(int(asked.read_text()), signal.SIGKILL)  # which at a terminal Ctrl+C does
    finally:
        doctor.kill()
    assert doctor.output() == ""
