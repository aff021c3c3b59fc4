"""The desktop app under a real X server, window manager and tray, with a real Docker Engine before it."""

import json
import subprocess

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image, write_docker_archive
from tests.support.waiting import until

WINDOW = ("--name", "yarddesk")
THIRD_ROW = 56 + 52 + 64 + 64 + 32
"""Below the header, the page's head and two rows."""


@pytest.fixture
def app(make_yarddesk, docker_registry, desktop):
    return make_yarddesk(
        mode="desktop", config=push_everything_to(docker_registry.host), environment=desktop.environment
    )


@pytest.mark.xdist_group("dockerd")
def test_docker_push_rmi_pull_and_the_image_is_upstream_byte_for_byte(app, docker_registry, docker, tmp_path):
    image = build_image("desktop", (3_000_000, 40_000, 900_000))
    name = f"{app.registry}/team/app:1"
    docker.load(write_docker_archive(tmp_path / "image.tar", image, name))
    docker.push(name)
    docker.run("rmi", name)
    docker.pull(name)
    app.run("wait", "team/app:1", "--timeout", "60")
    pushed = app.manifest("team/app", "1")
    assert pushed is not None
    assert docker_registry.manifest("team/app", "1") == pushed
    document = json.loads(pushed.content)
    assert len(document["layers"]) == 3
    for descriptor in (document["config"], *document["layers"]):
        blob = docker_registry.blob("team/app", descriptor["digest"])
        assert blob is not None
        assert blob == app.blob("team/app", descriptor["digest"])


def test_a_window_and_a_tray_icon_are_there(app, desktop):
    desktop.wait_for_window(*WINDOW)
    until(desktop.tray_icons, 30, "a tray icon")


def test_minimized_starts_in_the_tray_alone(make_yarddesk, desktop):
    make_yarddesk(mode="desktop", environment=desktop.environment, options=["--minimized"])
    until(desktop.tray_icons, 30, "a tray icon")
    assert desktop.windows(*WINDOW) == []


def test_closing_the_window_leaves_the_app_in_the_tray_and_a_second_start_raises_it(app, desktop):
    window = desktop.wait_for_window(*WINDOW)
    until(desktop.tray_icons, 30, "a tray icon")
    desktop.close(window.id)
    until(lambda: desktop.windows(*WINDOW) == [], 10, "the window to close")
    assert app.running
    assert app.request("GET", "/v2/")[0] == 200
    app.run("--port", "0", status=0)
    desktop.wait_for_window(*WINDOW)


def test_where_serve_holds_the_folder_the_app_names_it_and_exits_1(make_yarddesk, desktop):
    serve = make_yarddesk()
    serve.environment.update(desktop.environment)
    refused = serve.run("--port", "0", status=1)
    assert str(serve.pid) in refused.stderr
    assert serve.url in refused.stderr


def test_a_taken_port_is_exit_1_naming_who_holds_it(make_yarddesk, desktop, tmp_path):
    serve = make_yarddesk()
    serve.environment.update(desktop.environment)
    command = ["--data-dir", str(tmp_path / "other"), "--port", str(serve.port)]
    refused = serve.run(*command, status=1)
    assert str(serve.pid) in refused.stderr


def test_sigterm_ends_the_app_within_five_seconds_with_work_left(app, docker_registry):
    docker_registry.stop()
    app.push("team/app", "1", build_image("left", (1000,)))
    assert app.terminate(5) == 0


def test_an_image_is_moved_up_by_mouse_and_key(app, docker_registry, desktop):
    docker_registry.stop()
    for name in ("first", "second", "third"):
        app.push(f"team/{name}", "1", build_image(name, (1000,)))
    window = desktop.wait_for_window(*WINDOW)
    desktop.activate(window.id)

    def order():
        return [job["repository"] for job in json.loads(app.run("queue", "--json").stdout)["jobs"]]

    assert order() == ["team/first", "team/second", "team/third"]
    desktop.click(window.x + 400, window.y + THIRD_ROW)

    def moved():
        desktop.key("ctrl+Up")
        return order() == ["team/third", "team/first", "team/second"]

    until(moved, 10, "the third goes first")


def test_a_tag_that_somebody_else_moved_is_decided_about_from_the_keyboard(app, docker_registry, desktop):
    app.configure(f"{push_everything_to(docker_registry.host)}\nsync:\n  on_conflict: ask\n")
    app.restart()
    ours, theirs, newer = (build_image(seed, (1000,)) for seed in ("ours", "theirs", "newer"))
    app.push("team/app", "1", ours)
    app.run("wait", "team/app:1", "--timeout", "30")
    docker_registry.push("team/app", "1", theirs)
    app.push("team/app", "1", newer)
    until(lambda: '"conflict": {' in app.run("queue", "--json").stdout, 30, "it waits for a decision")
    window = desktop.wait_for_window(*WINDOW)
    desktop.activate(window.id)

    def kept():
        for keys in ("Escape", "ctrl+1", "Home", "Menu", "Down", "Return"):  # “Keep theirs” is the first of its menu
            desktop.key(keys)
        return json.loads(app.run("queue", "--json").stdout)["jobs"] == []

    until(kept, 20, "nothing waits any more")
    assert docker_registry.tagged("team/app", "1") == theirs.manifest.digest
    newest = json.loads(app.run("history", "--json").stdout)["entries"][0]
    assert newest["outcome"] == "cancelled"
    assert newest["digest"] == newer.manifest.digest


def test_where_there_is_no_tray_the_window_stays(make_yarddesk, tmp_path):
    from tests.peers.desktop import Desktop

    bare = Desktop(tmp_path / "bare", tray=False)
    bare.start()
    try:
        app = make_yarddesk(mode="desktop", environment=bare.environment)
        window = bare.wait_for_window(*WINDOW)
        bare.close(window.id)
        until(lambda: app.request("GET", "/v2/")[0] == 200, 10)
        assert app.running
    finally:
        bare.stop()


def test_commands_steer_the_desktop_app(app):
    app.run("pause")
    app.push("team/app", "1", build_image("steered", (1000,)))
    assert json.loads(app.run("status", "--json").stdout)["state"] == "paused"
    assert isinstance(app.run("queue"), subprocess.CompletedProcess)
