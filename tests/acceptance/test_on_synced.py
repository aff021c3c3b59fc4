"""`sync.on_synced` of an instance: its command and its webhook hear of what arrived at a real registry."""

import json
import shlex
import sys

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image
from tests.support.waiting import until
from tests.support.webhook_receiver import Receiver, receiving


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def instance(make_yarddesk, docker_registry):
    """Starts one with these hooks, quoted as YAML wants it."""

    def settings(**hooks: str) -> str:
        lines = "".join(f"    {name}: {json.dumps(text)}\n" for name, text in hooks.items())
        return f"{push_everything_to(docker_registry.host)}\nsync:\n  on_synced:\n{lines}"

    def start(**hooks: str):
        serve = make_yarddesk(config=settings(**hooks))
        serve.other_hooks = lambda **others: serve.configure(settings(**others))
        return serve

    return start


def test_command_and_webhook_hear_of_an_arrival_and_no_secret_is_logged(instance, receiver, tmp_path):
    file = tmp_path / "heard"
    script = "import sys, os; open(sys.argv[1], 'a').write(os.environ['YARDDESK_DIGEST'] + ' ' + sys.stdin.read())"
    command = shlex.join([sys.executable, "-c", script, str(file), "--token=s3cr3t"])
    receiver.answers = [500]
    serve = instance(command=command, webhook=receiver.address)
    image = build_image("heard", (5000,))
    serve.push("team/app", "1", image)
    serve.run("wait", "team/app:1", "--timeout", "30")
    until(lambda: file.exists() and file.read_text().endswith("\n"), 30, "the command ran")
    digest, _, given = file.read_text().partition(" ")
    assert digest == image.manifest.digest
    assert json.loads(given)["image"] == "team/app:1"
    until(lambda: len(receiver.got) == 2, 30, "the webhook was told, at the second try")
    assert receiver.got[1][2] == receiver.got[0][2]
    until(lambda: not list((serve.data_dir / "arrivals").rglob("*.json")), 10, "nothing waits any more")
    assert "answered with status 500" in serve.output()
    kept = b"".join(path.read_bytes() for path in serve.data_dir.rglob("*") if path.is_file())
    assert "s3cr3t" not in serve.output() + kept.decode(errors="replace")


def test_what_could_not_be_told_is_told_after_a_kill_at_the_address_that_the_settings_name_by_then(
    instance,
    receiver,
):
    gone = Receiver()
    gone.server_close()
    serve = instance(webhook=gone.address)
    serve.push("team/app", "1", build_image("late", (5000,)))
    serve.run("wait", "team/app:1", "--timeout", "30")
    until(lambda: "refused the connection" in serve.output(), 30, "it could not be told")
    serve.kill()
    assert len(list((serve.data_dir / "arrivals" / "webhook").iterdir())) == 1
    serve.start()
    serve.other_hooks(webhook=receiver.address)
    until(lambda: receiver.tags == ["1"], 30, "it's told")


def test_hooks_that_hang_hold_up_no_image_and_no_stop(instance, tmp_path):
    started = tmp_path / "started"
    serve = instance(command=shlex.join(["/bin/sh", "-c", f"touch {started}; sleep 600"]))
    for tag in ("1", "2"):
        serve.push("team/app", tag, build_image(f"hang {tag}", (5000,)))
        serve.run("wait", f"team/app:{tag}", "--timeout", "30")
    until(started.exists, 10, "the command runs")
    assert serve.terminate(deadline_seconds=5) == 0


def test_what_could_never_be_told_stays_in_the_history_and_in_the_counters(instance):
    serve = instance(command="/bin/sh -c 'echo the chat is down; exit 4' --token=s3cr3t")
    image = build_image("untold", (5000,))
    serve.push("team/app", "1", image)
    serve.run("wait", "team/app:1", "--timeout", "30")

    def untold():
        return [each for each in json.loads(serve.run("history", "--json").stdout)["entries"] if each["hook"]]

    [entry] = until(untold, 30, "a line in the history")
    assert (entry["repository"], entry["reference"], entry["hook"]) == ("team/app", "1", "command")
    assert entry["reason"] == "/bin/sh ended with status 4: the chat is down"
    serve.kill()
    serve.start()
    assert untold() == [entry]
    assert "command failed" in serve.run("history").stdout
    kept = b"".join(path.read_bytes() for path in serve.data_dir.rglob("*") if path.is_file())
    assert "s3cr3t" not in serve.output() + kept.decode(errors="replace")
