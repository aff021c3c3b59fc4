"""`yarddesk doctor` beside an instance that runs, hangs, or has ended badly: as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.doctor import Doctor, everything_below, never_started
from tests.acceptance.settings import NOWHERE, push_everything_to
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.certificates import private_authority
from tests.support.images import build_image
from tests.support.waiting import until

USER = "ci"
PASSWORD = "pässword of ci"

MakeRegistry = Callable[..., DockerRegistry]
MakeYarddesk = Callable[..., YarddeskProcess]


@pytest.fixture
def machine(tmp_path: Path) -> YarddeskProcess:
    return never_started(tmp_path / "machine")


def test_beside_an_instance_it_tells_of_it_and_asks_what_only_that_knows(
    make_yarddesk: MakeYarddesk, make_registry: MakeRegistry
) -> None:
    registry = make_registry(users={USER: PASSWORD})
    auth = "    auth: {type: basic, username: ci, password: wrong}\n"
    serve = make_yarddesk(config=push_everything_to(registry.host, more=auth))
    image = build_image("kept back")
    serve.push("team/app", "1", image)
    until(lambda: serve.control("status")["jobs"].get("blocked"), 30, "a job that is blocked")
    serve.run("pause", "team/app")
    serve.run("pause", "central")
    looked = Doctor(serve).look(status=1)
    instance = looked.one("instance", str(serve.data_dir))
    assert instance["state"] == "ok"
    version = json.loads(serve.request("GET", "/version")[2])["version"]
    assert instance["message"] == f"yarddesk {version} runs, pid {serve.pid}, and answers at {serve.url}."
    port = looked.one("port")
    assert (port["state"], f"pid {serve.pid}" in port["message"]) == ("ok", True)
    paused, also_paused, stuck = looked.of("queue")
    assert (paused["state"], paused["hint"]) == ("warning", "`yarddesk resume team/app` goes on.")
    assert (also_paused["state"], also_paused["hint"]) == ("warning", "`yarddesk resume central` goes on.")
    assert stuck["state"] == "broken"
    assert "team/app:1, blocked on the way to central" in stuck["message"]
    assert "refused the password for `ci`" in stuck["message"]
    assert "“needs you”" in looked.one("instance", "central")["message"]
    # It goes on, and holds its folder.
    assert serve.running
    assert serve.holds("team/app", "1", image)
    assert f"pid {serve.pid}" in Doctor(serve)(status=1).stdout


def test_a_file_of_the_queue_that_cannot_be_used_is_named_beside_an_instance_and_without_one(
    make_yarddesk: MakeYarddesk,
) -> None:
    serve = make_yarddesk(config=NOWHERE, started=False)
    folder = serve.data_dir / "pending" / "team"
    folder.mkdir(parents=True)
    (folder / "app").mkdir()
    (folder / "app" / "1.json").write_text("{no marker")
    doctor = Doctor(serve)
    found = doctor.look().of("queue")
    assert [(each["state"], each["subject"]) for each in found] == [
        ("ok", ""),
        ("warning", str(folder / "app" / "1.json")),
    ]
    assert (folder / "app" / "1.json").read_text() == "{no marker"
    serve.start()
    (aside,) = (folder / "app").glob("*.damaged*")
    assert doctor.look().of("queue")[0]["subject"] == str(aside)


def test_a_folder_that_an_instance_holds_without_answering_yet_is_told_of(machine: YarddeskProcess) -> None:
    program = (
        "import sys, pathlib\n"
        "from yarddesk.storage.lock import InstanceLock\n"
        "with InstanceLock.acquire(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(machine.data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = Doctor(machine).look().one("instance")
        assert found["state"] == "warning"
        assert f"pid {holder.pid} holds the data folder" in found["message"]
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait(10) == 0
    assert "No yarddesk runs" in Doctor(machine).look().one("instance")["message"]


def test_an_instance_that_gives_no_answer_is_broken(make_yarddesk: MakeYarddesk) -> None:
    serve = make_yarddesk(config=NOWHERE)
    os.kill(serve.pid, signal.SIGSTOP)
    try:
        looked = Doctor(serve).look(status=1)
    finally:
        os.kill(serve.pid, signal.SIGCONT)
    found = looked.one("instance")
    assert f"pid {serve.pid}) holds the data folder, and does not answer at {serve.url}" in found["message"]
    assert f"end pid {serve.pid}" in found["hint"]
    assert looked.one("port")["state"] == "ok"


def test_an_instance_whose_certificate_is_gone_is_not_to_be_ended(tmp_path: Path, make_yarddesk: MakeYarddesk) -> None:
    certificate, key, _ = private_authority(tmp_path)
    tls = f"server: {{port: 0, tls: true, certfile: {certificate}, keyfile: {key}}}\n"
    serve = make_yarddesk(config=f"upstreams: []\n{tls}")
    certificate.rename(tmp_path / "elsewhere.pem")
    looked = Doctor(serve).look(status=1)
    found = looked.one("instance")
    assert f"(pid {serve.pid}) holds the data folder, and can't be asked at {serve.url}" in found["message"]
    assert f"{certificate}, by which the running yarddesk is known, can't be read: No such file" in found["message"]
    assert found["hint"] == "Look at server.certfile."
    assert looked.one("settings", "server.certfile")["state"] == "broken"
    assert str(certificate) in serve.run("status", status=1).stderr


def test_an_instance_that_was_killed_and_left_its_address_runs_no_more(
    make_yarddesk: MakeYarddesk, docker_registry: DockerRegistry
) -> None:
    serve = make_yarddesk(config=NOWHERE)
    serve.kill()
    assert (serve.data_dir / "control.json").exists()
    before = everything_below(serve.data_dir)
    found = Doctor(serve).look().one("instance")
    assert (found["state"], found["message"]) == ("ok", "No yarddesk runs on this data folder.")
    assert everything_below(serve.data_dir) == before
    # Another program has its port by now, and perhaps its process id: nobody is told to end that.
    document = serve.data_dir / "control.json"
    for url in (f"http://{docker_registry.host}", "http://127.0.0.1", "http://[::1"):
        document.write_text(json.dumps({"url": url, "pid": os.getpid(), "version": "1"}))
        looked = Doctor(serve).look()
        assert looked.one("instance")["message"] == "No yarddesk runs on this data folder."
        assert looked.one("port")["message"] == "Any port that is free is taken at the start."
