"""`yarddesk serve` with real clients before it and a real registry behind it."""

import json
import stat
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image, build_index, write_oci_layout
from tests.support.waiting import until


@pytest.fixture
def serve(make_yarddesk, docker_registry):
    return make_yarddesk(config=push_everything_to(docker_registry.host))


def test_a_skopeo_push_arrives_upstream_byte_for_byte(serve, docker_registry, skopeo, tmp_path):
    image = build_image("skopeo", (100_000, 3_000_000, 20))
    skopeo.copy(write_oci_layout(tmp_path / "image", image), f"docker://{serve.registry}/team/app:1")
    serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.holds("team/app", "1", image)
    assert serve.holds("team/app", "1", image)


@pytest.mark.parametrize("docker", [False, True], ids=["OCI index", "Docker manifest list"])
def test_a_multi_platform_push_arrives_with_all_its_platforms(serve, docker_registry, make_registry, skopeo, docker):
    index = build_index("multi", ("linux/amd64", "linux/arm64", "linux/arm/v7"), docker=docker)
    source = make_registry()
    source.push("multi", "1", index)
    skopeo.copy(
        f"docker://{source.host}/multi:1", f"docker://{serve.registry}/team/multi:1", "--all", "--preserve-digests"
    )
    serve.run("wait", "team/multi:1", "--timeout", "30")
    assert docker_registry.holds("team/multi", "1", index)
    until(lambda: json.loads(serve.run("queue", "--json").stdout)["jobs"] == [], 30, "an empty queue")
    assert docker_registry.tags("team/multi") == ["1"]


def test_a_podman_push_can_be_removed_and_pulled_again(serve, docker_registry, podman):
    image = build_image("podman", (50_000, 60_000))
    name = f"{serve.registry}/team/pod:1"
    podman.load(image, name)
    podman.push(name)
    podman.run("rmi", name)
    podman.pull(name)
    serve.run("wait", "team/pod:1", "--timeout", "30")
    pushed = serve.manifest("team/pod", "1")
    assert pushed is not None
    assert docker_registry.manifest("team/pod", "1") == pushed
    for blob in (pushed_blob["digest"] for pushed_blob in json.loads(pushed.content)["layers"]):
        assert docker_registry.blob("team/pod", blob) == serve.blob("team/pod", blob)


def test_a_buildah_build_is_pushed_and_arrives(serve, docker_registry, buildah):
    name = f"{serve.registry}/team/built:1"
    buildah.build(name, {"/one": "1", "/two": "2"})
    buildah.push(name)
    serve.run("wait", "team/built:1", "--timeout", "30")
    assert docker_registry.manifest("team/built", "1") == serve.manifest("team/built", "1")


def test_what_upstream_has_is_not_sent_again(serve, docker_registry):
    image = build_image("again", (400_000, 500_000))
    serve.push("team/first", "1", image)
    serve.run("wait", "--timeout", "30")
    already = len(docker_registry.seen("PATCH")) + len(docker_registry.seen("PUT", "blobs/uploads"))
    serve.push("team/first", "2", image)
    serve.run("wait", "--timeout", "30")
    assert docker_registry.holds("team/first", "2", image)
    assert len(docker_registry.seen("PATCH")) + len(docker_registry.seen("PUT", "blobs/uploads")) == already
    newest = json.loads(serve.run("history", "--json").stdout)["entries"][0]
    assert newest["bytes_saved"] >= 900_000


def test_what_a_newer_push_took_the_place_of_is_told_of(serve):
    serve.run("pause")
    older, newer = build_image("older"), build_image("newer")
    serve.push("team/app", "1", older)
    serve.push("team/app", "1", newer)
    [line] = [line for line in serve.run("history").stdout.splitlines() if "team/app:1" in line]
    assert "cancelled" in line
    assert f"A newer push of this tag took its place: {newer.manifest.digest[:19]}…" in line


def test_a_layer_that_another_repository_has_upstream_is_mounted(serve, docker_registry):
    image = build_image("mounted", (400_000,))
    serve.push("team/one", "1", image)
    serve.run("wait", "--timeout", "30")
    before = len(docker_registry.seen("PATCH"))
    serve.push("team/two", "1", image)
    serve.run("wait", "--timeout", "30")
    assert docker_registry.holds("team/two", "1", image)
    assert len(docker_registry.seen("PATCH")) == before


def test_a_push_needs_no_upstream_and_goes_up_once_it_is_there(serve, docker_registry):
    image = build_image("offline", (100_000,))
    docker_registry.stop()
    serve.push("team/app", "1", image)
    until(lambda: _state(serve) == "waiting", 30, "a job that waits")
    assert serve.holds("team/app", "1", image)
    (job,) = json.loads(serve.run("queue", "--json").stdout)["jobs"]
    assert docker_registry.host in job["upstreams"][0]["reason"] or "central" in job["upstreams"][0]["reason"]
    docker_registry.start()
    serve.run("retry", "--all")
    serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.holds("team/app", "1", image)
    [line] = [line for line in serve.run("history").stdout.splitlines() if "team/app:1" in line]
    assert "A try before failed: " in line


def _state(serve) -> str:
    jobs = json.loads(serve.run("queue", "--json").stdout)["jobs"]
    return jobs[0]["upstreams"][0]["state"] if jobs else ""


def test_a_pause_is_kept_over_a_restart_and_ends_with_resume(serve, docker_registry):
    serve.run("pause")
    image = build_image("paused", (100_000,))
    serve.push("team/app", "1", image)
    serve.restart()
    assert json.loads(serve.run("status", "--json").stdout)["paused"]
    assert _state(serve) == "paused"
    assert docker_registry.manifest("team/app", "1") is None
    serve.run("resume")
    serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.holds("team/app", "1", image)


def test_a_paused_repository_keeps_back_what_is_pushed_to_it_later(serve, docker_registry):
    first, second = build_image("kept 1", (1000,)), build_image("kept 2", (1000,))
    serve.run("pause", "kept/app", status=1)
    serve.push("kept/app", "1", first)
    serve.run("wait", "kept/app:1", "--timeout", "30")
    assert serve.run("pause", "kept/app").stdout == "Paused: kept/app.\n"
    assert "kept/app" in serve.run("status").stdout
    serve.push("kept/app", "2", second)
    status = json.loads(serve.run("status", "--json").stdout)
    assert status["paused_repositories"] == [{"repository": "kept/app", "until": None}]
    assert _state(serve) == "paused"
    assert serve.run("resume", "kept/app").stdout == "Resumed: kept/app.\n"
    serve.run("wait", "kept/app:2", "--timeout", "30")
    assert docker_registry.holds("kept/app", "2", second)


def test_a_file_of_the_queue_that_can_not_be_used_is_told_of(serve):
    marker = serve.data_dir / "pending" / "set" / "aside" / "1.json"
    marker.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    marker.write_text('{"schema": 7}')
    serve.restart()
    (told,) = json.loads(serve.run("status", "--json").stdout)["set_aside"]
    assert told["file"] == "set/aside/1.json.damaged"
    assert "version 7" in told["reason"]
    assert "set/aside/1.json.damaged" in serve.run("status").stdout


def test_what_is_to_go_first_leads_the_queue(serve, docker_registry):
    serve.run("pause")
    for tag in ("1", "2"):
        serve.push("team/app", tag, build_image(f"first {tag}", (1000,)))
    assert "Going first: 1 image." in serve.run("first", "team/app:2").stdout
    jobs = json.loads(serve.run("queue", "--json").stdout)["jobs"]
    assert [(job["reference"], job["priority"]) for job in jobs] == [("2", 1), ("1", 0)]
    serve.run("resume")
    serve.run("wait", "--timeout", "30")


def test_what_is_paused_is_not_said_to_be_tried_or_to_go(serve, docker_registry):
    serve.run("pause")
    for repository in ("team/app", "team/web"):
        serve.push(repository, "1", build_image(f"kept back {repository}", (1000,)))
    for which in ("team/app:1", "--all"):
        refused = serve.run("retry", which, status=1)
        assert "Everything is paused. Resume all of it (yarddesk resume)." in refused.stderr
        assert "Trying" not in refused.stdout
    first = serve.run("first", "team/web:1")
    assert first.stdout == "Going first: 1 image.\n"
    assert "1 image is kept back. Everything is paused." in first.stderr
    serve.run("resume")
    serve.run("wait", "--timeout", "30")

    docker_registry.stop()
    for repository in ("team/app", "team/web"):
        serve.push(repository, "2", build_image(f"kept back again {repository}", (1000,)))
    serve.run("pause", "team/app")
    refused = serve.run("retry", "team/app:2", status=1)
    assert "Nothing of team/app:2 can be tried now. team/app is paused." in refused.stderr
    assert "yarddesk resume team/app" in refused.stderr
    some = serve.run("retry", "--all")
    assert some.stdout == "Trying now: 1 image.\n"
    assert "1 image is kept back. team/app is paused. Resume it (yarddesk resume team/app)." in some.stderr
    serve.run("pause")
    assert "Everything is paused" in serve.run("resume", "team/app").stderr
    docker_registry.start()
    serve.run("resume")
    serve.run("wait", "--timeout", "30")


def test_deleting_the_marker_cancels(serve, docker_registry):
    serve.run("pause")
    image = build_image("marker", (1000,))
    serve.push("team/app", "1.0", image)
    marker = serve.data_dir / "pending" / "team" / "app" / "1.0.json"
    document = json.loads(marker.read_text())
    assert (document["schema"], document["repository"], document["reference"]) == (1, "team/app", "1.0")
    assert document["digest"] == image.manifest.digest
    assert set(document["upstreams"]) == {"central"}
    marker.unlink()
    until(lambda: json.loads(serve.run("queue", "--json").stdout)["jobs"] == [], 30, "an empty queue")
    serve.run("resume")
    assert docker_registry.manifest("team/app", "1.0") is None
    assert serve.holds("team/app", "1.0", image)


def test_cancel_by_reference_leaves_the_others(serve):
    serve.run("pause")
    for tag in ("1", "2"):
        serve.push("team/app", tag, build_image(tag, (1000,)))
    serve.run("cancel", f"{serve.registry}/team/app:1")
    assert [job["reference"] for job in json.loads(serve.run("queue", "--json").stdout)["jobs"]] == ["2"]
    assert serve.run("cancel", "team/app:1", status=1).stderr.count("team/app:1") == 1


def test_pulls_of_what_is_not_here_come_through_the_upstream(serve, docker_registry, skopeo, tmp_path):
    image = build_image("pull", (2_000_000, 10))
    docker_registry.push("team/there", "1", image)
    skopeo.copy(f"docker://{serve.registry}/team/there:1", f"oci:{tmp_path / 'out'}:1")
    digest_file = tmp_path / "out" / "blobs" / "sha256" / image.layers[0].digest.removeprefix("sha256:")
    assert digest_file.read_bytes() == image.layers[0].content
    docker_registry.stop()
    assert serve.holds("team/there", "1", image)


def test_the_data_folder_is_the_users_alone(serve):
    serve.push("team/app", "1", build_image("modes", (1000,)))
    for path in (serve.data_dir, *serve.data_dir.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode & 0o077 == 0, f"{path} {mode:o}"


def test_a_second_instance_on_the_folder_names_the_first_and_exits_1(serve, make_yarddesk):
    second = serve.run("serve", "--port", "0", status=1)
    assert str(serve.pid) in second.stderr
    assert serve.url in second.stderr


def test_a_taken_port_names_its_holder_and_exits_1(serve, make_yarddesk, tmp_path):
    other = serve.run("serve", "--data-dir", str(tmp_path / "other"), "--port", str(serve.port), status=1)
    assert str(serve.pid) in other.stderr
    assert str(serve.port) in other.stderr


def test_sigterm_and_sigint_end_it_in_good_order_with_work_left(serve, docker_registry):
    docker_registry.stop()
    serve.push("team/app", "1", build_image("left", (1000,)))
    assert serve.interrupt(5) == 0
    assert not (serve.data_dir / "control.json").exists()
    serve.start()
    assert [job["reference"] for job in json.loads(serve.run("queue", "--json").stdout)["jobs"]] == ["1"]
    assert serve.terminate(5) == 0


def test_without_an_instance_the_commands_say_so(serve):
    serve.terminate()
    for command in (("status",), ("queue",), ("pause",), ("cancel", "--all"), ("wait",)):
        refused = serve.run(*command, status=1)
        assert "yarddesk serve" in refused.stderr


def test_retrying_what_goes_nowhere_any_more_says_so(serve, docker_registry):
    serve.run("pause")
    serve.push("team/app", "1", build_image("stranded", (1000,)))
    serve.configure(push_everything_to(docker_registry.host).replace("push: true", "push: false"))
    until(lambda: serve.control("queue")["jobs"][0]["upstreams"][0]["state"] == "blocked", 30, "it goes nowhere")
    for which in ("team/app:1", "--all"):
        refused = serve.run("retry", which, status=1)
        assert "central takes no pushes of this image any more" in refused.stderr
        assert "Trying" not in refused.stdout
    signed_in = {"registry": docker_registry.host, "retry": True}
    assert serve.control("account-changed", signed_in) == {"count": 0}, "signing in is no failure for that"


def test_an_upstream_that_is_added_while_it_runs_takes_the_next_push(make_yarddesk, docker_registry):
    serve = make_yarddesk(config="upstreams: []\n")
    serve.push("team/app", "1", build_image("local", (1000,)))
    assert json.loads(serve.run("queue", "--json").stdout)["jobs"] == []
    assert serve.run("wait", "team/app:1", status=1).stderr
    serve.run("upstream", "add", f"http://{docker_registry.host}", "--push")
    until(lambda: json.loads(serve.run("status", "--json").stdout)["upstreams"], 30, "the new upstream")
    image = build_image("central", (1000,))
    serve.push("team/app", "2", image)
    serve.run("wait", "team/app:2", "--timeout", "30")
    assert docker_registry.holds("team/app", "2", image)
    serve.run("upstream", "remove", docker_registry.host)
    until(lambda: not json.loads(serve.run("status", "--json").stdout)["upstreams"], 30, "no upstream")


@pytest.mark.parametrize("variable", ["http://r.example:5000", ""])
def test_an_upstream_that_the_environment_keeps_from_counting_is_said_to(make_yarddesk, variable):
    app = make_yarddesk(started=False, environment={"YARDDESK_UPSTREAM": variable})
    said = app.run("upstream", "add", "other.example", "--push").stderr
    assert said == "yarddesk: other.example counts for nothing while YARDDESK_UPSTREAM is set.\n"
    assert bool(app.run("upstream", "add", "other.example", "--prefix", "team").stderr) is not bool(variable)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("server:\n  prot: 1\n", ":2: server.prot"),
        ("sync: 5\n", ":1: sync"),
        ("upstreams:\n  - prefix: x\n", "registry"),
    ],
)
def test_settings_that_cannot_be_used_are_exit_2(serve, config, words):
    serve.configure(config)
    assert words in serve.run("upstream", "list", status=2).stderr


def test_an_upstream_that_no_name_could_lead_to_is_not_added(make_yarddesk):
    app = make_yarddesk(config="upstreams: []\n", started=False)
    for key, given, instead in (("prefix", "GHCR.io", "ghcr.io"), ("path", "Acme/x", "acme/x")):
        refused = app.run("upstream", "add", "ghcr.io", f"--{key}", given, status=2).stderr
        assert f"upstream add: {key}: “{given}” can't stand before a repository's name" in refused
        assert f"write “{instead}”" in refused
    assert app.config_file.read_text() == "upstreams: []\n"


def test_wrong_settings_while_it_runs_leave_the_old_ones_in_force(serve, docker_registry):
    serve.configure("upstreams: 5\n")
    serve.wait_for_line(r"upstreams: a list belongs here")
    image = build_image("still", (1000,))
    serve.push("team/app", "1", image)
    until(lambda: docker_registry.manifest("team/app", "1") is not None, 30)


def test_a_bucket_that_is_named_while_it_runs_is_refused_as_at_the_start(serve, docker_registry):
    config = push_everything_to(docker_registry.host)
    serve.configure(config + "storage:\n  bucket: images\n")
    serve.wait_for_line(r"the settings stay as they were: .*storage.bucket.*file system alone")
    image = build_image("still", (1000,))
    serve.push("team/app", "1", image)
    until(lambda: docker_registry.manifest("team/app", "1") is not None, 30)
    serve.terminate()
    refused = serve.run("serve", status=2)
    assert "storage.bucket" in refused.stderr
    assert "storage.backend: filesystem" in refused.stderr


def test_a_certificate_that_the_next_start_could_not_use_is_refused_as_a_whole(serve):
    serve.configure("server:\n  tls: true\n  certfile: /not/there\nupstreams: [{registry: r.example}]\n")
    serve.wait_for_line(
        r"the settings stay as they were: \S+config\.yaml:3: server\.certfile: /not/there and its key can't be used"
    )
    assert "r.example" not in [upstream["name"] for upstream in serve.control("status")["upstreams"]]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("logger:\n  output: /not/there/log\n", ":2: logger.output: “/not/there/log” can't be written"),
        ("server:\n  tls: true\n  certfile: /not/there\n", ":3: server.certfile: /not/there and its key can't be used"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_line_that_names_them(make_yarddesk, config, words):
    app = make_yarddesk(config=config, started=False)
    assert f"{app.config_file}{words}" in app.run("serve", status=2).stderr


def test_the_tokens_file_is_new_at_each_start(serve):
    first = (serve.data_dir / "control.token").read_text()
    serve.restart()
    assert (serve.data_dir / "control.token").read_text() != first
    document = json.loads((serve.data_dir / "control.json").read_text())
    assert document == {"url": serve.url, "pid": serve.pid, "version": document["version"]}
    assert Path(serve.data_dir / "control.token").stat().st_mode & 0o777 == 0o600
