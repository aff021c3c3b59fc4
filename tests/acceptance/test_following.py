"""What happens in an instance, as a person follows it (`queue --follow`) and as programs count it (`/metrics`)."""

import json
import re
import signal
import sys

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image
from tests.support.programs import Program
from tests.support.waiting import until


@pytest.fixture
def serve(make_yarddesk, docker_registry):
    return make_yarddesk(config=push_everything_to(docker_registry.host))


@pytest.fixture
def follow(serve, tmp_path):
    """Starts a `queue --follow` beside the instance."""
    started: list[Program] = []

    def start(*options: str) -> Program:
        command = [sys.executable, "-m", "yarddesk", "queue", "--follow", *options]
        command += ["--config", str(serve.config_file), "--data-dir", str(serve.data_dir)]
        program = Program(command, environment=serve.environment, log=tmp_path / f"follow {len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


def test_a_person_sees_what_happens_and_the_counters_say_how_often(serve, follow):
    person = follow()
    person.wait_for_line("Nothing is waiting")
    first, second = build_image("followed 1", (40_000,)), build_image("followed 2", (40_000,))
    serve.push("team/app", "1", first)
    person.wait_for_line(r"\d\d:\d\d:\d\d  team/app:1  queued")
    person.wait_for_line(r"team/app:1  central  synced: 4\d kB sent")
    serve.push("team/app", "1", second)
    person.wait_for_line(rf"team/app:1  central  synced, replaced {first.manifest.digest[:19]}: ")
    serve.run("pause", "central")
    person.wait_for_line("  central  paused")
    person.send(signal.SIGINT)
    assert person.wait() == 130
    families = serve.metrics()
    assert families["yarddesk_sync_images_total"].value(upstream="central", outcome="done") == 2
    assert families["yarddesk_sync_seconds"].value("_count", upstream="central") == 2
    assert families["yarddesk_sync_bytes_sent_total"].value(upstream="central") > 80_000
    assert families["yarddesk_upstream_up"].value(upstream="central") == 1


def test_a_program_gets_the_queue_and_then_each_event_on_a_line(serve, follow):
    program = follow("--json")
    program.wait_for_line(r'^\{"jobs": \[\]\}$')
    image = build_image("followed", (1000,))
    serve.push("team/app", "1", image)
    program.wait_for_line('"type": "part_ended"')
    events = [json.loads(line) for line in program.output().splitlines()][1:]
    ended = next(event for event in events if event["type"] == "part_ended")
    assert (ended["job_id"], ended["upstream"], ended["outcome"]) == ("team/app:1", "central", "done")
    states = [event["new"] for event in events if event["type"] == "job_state_changed"]
    assert states[0] == "preparing"
    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)


def test_followers_hold_up_no_stop_and_end_with_the_instance(serve, follow):
    followers = [follow() for _ in range(3)]
    for each in followers:
        each.wait_for_line("Nothing is waiting")
    assert serve.terminate(deadline_seconds=3) == 0
    for each in followers:
        assert each.wait() == 1
        assert "stopping" in each.output() or "No yarddesk is running" in each.output()


def test_who_follows_an_instance_that_is_killed_is_told_that_it_ended(serve, follow):
    person = follow()
    person.wait_for_line("Nothing is waiting")
    serve.kill()
    assert person.wait() == 1
    assert "yarddesk ended, or stopped answering" in person.output()


def test_what_is_there_and_what_must_go_is_told_before_it_has_gone(docker_registry, follow, serve):
    shared, more = 40_000, 300_000
    serve.configure(f"{push_everything_to(docker_registry.host)}\nsync:\n  bandwidth: 100kB\n")
    serve.restart()
    first, second = build_image("planned", (shared,)), build_image("planned", (shared, more))
    serve.push("team/app", "1", first)
    serve.run("wait", "team/app:1", "--timeout", "30")
    person = follow()
    person.wait_for_line("Nothing is waiting")
    serve.push("team/app", "2", second)
    person.wait_for_line(r"team/app:2  central  4\d kB there, 30\d kB to send")

    def line():
        return next((line for line in serve.run("queue").stdout.splitlines() if line.startswith("team/app:2")), "")

    assert re.search(r"  30\d kB  ", until(line, 10, "it's on its way still")), "what is to be sent is in its column"
    assert "TO SEND" in serve.run("queue").stdout
    serve.run("wait", "team/app:2", "--timeout", "30")
    [entry] = [
        each for each in json.loads(serve.run("history", "--json").stdout)["entries"] if each["reference"] == "2"
    ]
    assert entry["bytes_saved"] > shared
    assert more < entry["bytes_sent"] < more + shared
