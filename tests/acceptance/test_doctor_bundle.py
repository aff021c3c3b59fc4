"""`yarddesk doctor --bundle FILE`: what is in it, and that no secret is, wherever there was one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.acceptance.secrets import forms_of
from tests.acceptance.settings import NOWHERE
from tests.peers.registry import DockerRegistry
from tests.peers.secret_service import SecretService
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

MakeRegistry = Callable[..., DockerRegistry]
MakeYarddesk = Callable[..., YarddeskProcess]

SECRETS = {
    "settings": "c4nary/of the settings",
    "variable": "c4nary of a variable",
    "environment": "c4nary+of-the-environment",
    "keychain": "c4nary of the keychain?",
    "docker": "c4nary of Dockers config",
    "comment": "c4nary-of-a-comment",
    "access": "C4NARYACCESSKEY",
    "s3": "c4nary/s3+secret",
    "bearer": "c4nary.bearer.token",
    "user of the webhook": "c4naryhook",
    "password of the webhook": "c4nary-hook-password",
    "path of the webhook": "T0C4NARY/B0C4NARY",
    "query of the webhook": "c4nary-hook-query",
    "command": "c4nary-of-the-command",
    "proxy": "c4nary-of-the-proxy",
    "proxy without a scheme": "c4nary-of-a-proxy-without-one",
    "proxy as it should not be written": "c4nary/of/a/proxy",
    "user info": "c4nary-of-a-url",
    "log": "c4nary-in-the-log",
}
"""What must not be read anywhere, each in the place that it's called after."""

MARK = b"c4nary"


def config(folder: Path, registries: Mapping[str, DockerRegistry]) -> str:
    def upstream(name: str, auth: str = "") -> str:
        registry = registries.get(name)
        host = registry.host if registry is not None else "127.0.0.1:9"
        return (
            f"  - {{name: {name}, prefix: {name}, registry: '{host}', push: true, tls: {{plain_http: true}}{auth}}}\n"
        )

    return f"""\
# password: {SECRETS["comment"]}
logger: {{output: {folder / "yarddesk.txt"}, level: debug}}
cache: {{max_size: 1GB}}  # {SECRETS["comment"]}
storage:
  backend: filesystem
  endpoint: https://admin:{SECRETS["user info"]}@s3.test
  access_key: {SECRETS["access"]}
  secret_key: "{SECRETS["s3"]}"
sync:
  on_synced:
    command: "true {SECRETS["command"]}"
    webhook: "https://{SECRETS["user of the webhook"]}:{SECRETS["password of the webhook"]}@127.0.0.1:9/{
        SECRETS["path of the webhook"]
    }?token={SECRETS["query of the webhook"]}"
upstreams:
""" + "".join(
        (
            upstream("settings", f", auth: {{type: basic, username: ci, password: '{SECRETS['settings']}'}}"),
            upstream("variable", ", auth: {type: basic, username: ci, password: '${OF_CI}'}"),
            upstream("bearer", f", auth: {{type: bearer, password: {SECRETS['bearer']}}}"),
            upstream("keychain"),
            upstream("docker"),
        )
    )


@pytest.fixture
def app(
    tmp_path: Path, make_registry: MakeRegistry, make_yarddesk: MakeYarddesk, secret_service: SecretService
) -> YarddeskProcess:
    """Secrets in every place that has one; none of the registries takes its own, and each says so."""
    names = ("settings", "variable", "keychain", "docker", "bearer")
    registries = {name: make_registry(users={"ci": "another"}) for name in names}
    docker = tmp_path / "docker"
    docker.mkdir()
    entry = {"username": "ci", "password": SECRETS["docker"]}
    (docker / "config.json").write_text(json.dumps({"auths": {registries["docker"].host: entry}}))
    environment = {
        "OF_CI": SECRETS["variable"],
        "YARDDESK_STORAGE_SECRET_KEY": SECRETS["environment"],
        "HTTPS_PROXY": f"http://proxy:{SECRETS['proxy']}@127.0.0.1:9",
        "http_proxy": f"proxy:{SECRETS['proxy without a scheme']}@127.0.0.1:9",
        "ALL_PROXY": f"http://proxy:{SECRETS['proxy as it should not be written']}@127.0.0.1:9",
        "DOCKER_CONFIG": str(docker),
        **secret_service.environment,
    }
    text = config(tmp_path, registries)
    app = make_yarddesk(started=False, config=text, environment=environment)
    # A registry that is down takes anything, and it's kept.
    registries["keychain"].stop()
    login = ("login", "keychain", "--username", "ci", "--password-stdin")
    app.run(*login, input_text=SECRETS["keychain"])
    registries["keychain"].start()
    return app


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:gz") as archive:
        found = {}
        for member in archive.getmembers():
            assert (member.mode, member.uname, member.uid) == (0o600, "", 0)
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("yarddesk-doctor/")] = file.read()
    return found


def expect_no_secret(members: Mapping[str, bytes], done: subprocess.CompletedProcess[str], token: str) -> None:
    said = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode(), **members}
    for place, secret in {**SECRETS, "control.token": token}.items():
        for form in forms_of("ci", secret):
            assert [name for name, content in said.items() if form in content] == [], place
    assert [name for name, content in said.items() if MARK in content.lower()] == []


def test_beside_an_instance_it_holds_all_that_helps_and_no_secret(app: YarddeskProcess, tmp_path: Path) -> None:
    app.start()
    for name in ("settings", "variable", "keychain", "docker", "bearer"):
        app.push(f"{name}/app", "1", build_image(name))
    until(lambda: app.control("status")["jobs"].get("blocked") == 5, 60, "five jobs that are blocked")
    with (tmp_path / "yarddesk.txt").open("a") as log:
        log.write(f"GET https://someone:{SECRETS['log']}@registry.test/v2/\n")
        log.write(f"Authorization: Bearer {SECRETS['log']}\n")
    bundle = tmp_path / "bundle.tar.gz"
    done = app.run("doctor", "--bundle", str(bundle), status=1)
    members = members_of(bundle)
    expect_no_secret(members, done, (app.data_dir / "control.token").read_text().strip())
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []

    assert members["findings.txt"].decode().strip() == "\n".join(done.stdout.splitlines()[:-1])
    findings = json.loads(members["findings.json"])["findings"]
    assert {"settings", "instance", "port", "data folder", "queue", "keychain", "upstream"} <= {
        each["check"] for each in findings
    }
    sources = [each["message"] for each in findings if each["check"] == "upstream"]
    for source in ("upstreams[].auth of settings", "upstreams[].auth of variable", "the keychain", "config.json"):
        assert any(source in message for message in sources), "each credential was met, and refused"
    assert json.loads(members["version.json"])["packages"]["httpx"]
    assert len(json.loads(members["queue.json"])["jobs"]) == 5
    assert json.loads(members["status.json"])["url"] == app.url
    assert json.loads(members["history.json"]) == {"entries": []}
    assert b"yarddesk_info" in members["metrics.txt"]
    assert b"registry.test/v2/" in members["log.txt"]
    assert "The log is not in it" not in done.stderr
    settings = members["settings.yaml"].decode()
    for line in ("max_size: 1GB", "password: ${OF_CI}", "access_key: '***'", "https://127.0.0.1/***", "username: ci"):
        assert line in settings
    variables = json.loads(members["environment.json"])
    assert variables["heeded"] == {"YARDDESK_STORAGE_SECRET_KEY": "***"}
    assert variables["others"]["HTTPS_PROXY"] == "http://***@127.0.0.1:9"
    assert variables["others"]["http_proxy"] == "***@127.0.0.1:9"


def test_without_an_instance_it_holds_what_lies_on_disk(tmp_path: Path) -> None:
    app = YarddeskProcess(tmp_path / "machine", config=NOWHERE + 'storage: {backend: filesystem, secret_key: "4096"}\n')
    folder = app.data_dir / "pending" / "team"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"repository": "team", "size": 4096, "note": "of 4096"}')
    (app.data_dir / "history.jsonl").write_text('{"repository": "team/before"}\n')
    bundle = tmp_path / "bundle.tar.gz"
    done = app.run("doctor", "--json", "--bundle", str(bundle))
    members = members_of(bundle)
    assert json.loads(done.stdout) == json.loads(members["findings.json"])
    # A password may be a number, and what is left is JSON all the same.
    marker = {"repository": "team", "size": 4096, "note": "of ***"}
    assert json.loads(members["pending.json"]) == {"team/1.json": marker}
    assert members["history.jsonl"] == b'{"repository": "team/before"}\n'
    assert "status.json" not in members
    assert "The log is not in it: it goes to standard error." in done.stderr


def test_offline_it_knows_what_is_secret_as_well(tmp_path: Path) -> None:
    log = tmp_path / "yarddesk.txt"
    log.write_text(f"somebody said {SECRETS['docker']}\n")
    config = {"auths": {"registry.test": {"username": "ci", "password": SECRETS["docker"]}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    app = YarddeskProcess(
        tmp_path / "machine",
        config="server: {port: 0}\nupstreams: [{registry: registry.test}]\ncache: {offline: true}\n"
        f"logger: {{output: {log}}}\n",
        environment={"DOCKER_CONFIG": str(tmp_path)},
    )
    app.run("doctor", "--bundle", str(tmp_path / "bundle.tar.gz"))
    assert members_of(tmp_path / "bundle.tar.gz")["log.txt"] == b"somebody said ***\n"


def test_no_setting_keeps_it_from_being_written(tmp_path: Path) -> None:
    log = tmp_path / "pipe"
    os.mkfifo(log)  # nobody writes into it, and it would be waited for
    kept = "storage: {backend: filesystem, secret_key: kept}\n"
    half = {
        "YARDDESK_STORAGE_ACCESS_KEY": "half \udcff of a character"
    }  # the settings file refuses such a text, this doesn't
    app = YarddeskProcess(tmp_path / "machine", config=f"{NOWHERE}logger: {{output: {log}}}\n{kept}", environment=half)
    app.run("doctor", "--bundle", str(tmp_path / "bundle.tar.gz"))
    members = members_of(tmp_path / "bundle.tar.gz")
    assert "YARDDESK_STORAGE_ACCESS_KEY" in members["environment.json"].decode()
    assert not [name for name, content in members.items() if b"half" in content]
    assert f"{log} is no file that keeps" in members["log.txt"].decode()
    assert "secret_key: '***'" in members["settings.yaml"].decode()


def test_a_file_that_is_there_is_left_alone_and_nothing_takes_its_place(tmp_path: Path) -> None:
    app = YarddeskProcess(tmp_path / "machine", config=NOWHERE)
    taken = tmp_path / "bundle.tar.gz"
    taken.write_bytes(b"somebody's")
    refused = app.run("doctor", "--bundle", str(taken), status=1)
    assert f"{taken} is there already. Name another file" in refused.stderr
    assert refused.stdout == ""
    assert taken.read_bytes() == b"somebody's"
    refused = app.run("doctor", "--bundle", str(tmp_path / "nowhere" / "bundle.tar.gz"), status=1)
    assert "can't be written" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.tar.gz", "machine"]


def test_an_archive_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    from yarddesk.errors import YarddeskError
    from yarddesk.service.doctor.archive import write_archive

    path = tmp_path / "whole.tar.gz"
    taken = os.open(path, os.O_CREAT | os.O_EXCL)  # somebody was quicker
    os.close(taken)
    with pytest.raises(YarddeskError, match="is there already"):
        write_archive(path, "folder", {"a": b"content"})
    assert path.read_bytes() == b""
    path.unlink()
    write_archive(path, "folder", {"a": b"content"})
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        assert archive.getnames() == ["folder/a"]
    assert [each.name for each in tmp_path.iterdir()] == ["whole.tar.gz"]
