"""`yarddesk login` and `logout` with a real keychain, real registries that ask for a password, and a running instance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from tests.acceptance.secrets import files_with, forms_of, kept_in, processes_watched
from tests.acceptance.settings import push_everything_to
from tests.peers.registry import DockerRegistry
from tests.peers.secret_service import SecretService
from tests.peers.token_server import TokenServer
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.ports import held_port
from tests.support.terminal import Terminal
from tests.support.waiting import until

USER = "ci"
PASSWORD = "c4nary pässword/of?a+test"

State = Literal["unlocked", "locked", "absent"]
MakeRegistry = Callable[..., DockerRegistry]
MakeYarddesk = Callable[..., YarddeskProcess]


@pytest.fixture
def registry(make_registry: MakeRegistry) -> DockerRegistry:
    return make_registry(users={USER: PASSWORD})


@pytest.fixture
def not_running(tmp_path: Path, secret_service: SecretService, registry: DockerRegistry) -> YarddeskProcess:
    """Settings and folders of an instance that was never started."""
    config = push_everything_to(registry.host)
    return YarddeskProcess(tmp_path / "never started", config=config, environment=secret_service.environment)


def log_in(
    app: YarddeskProcess, registry: str, password: str = PASSWORD, *, status: int = 0
) -> subprocess.CompletedProcess[str]:
    arguments = ("login", registry, "--username", USER, "--password-stdin")
    return app.run(*arguments, input_text=f"{password}\n", status=status)


def state(app: YarddeskProcess) -> str:
    jobs = app.control("queue")["jobs"]
    return str(jobs[0]["upstreams"][0]["state"]) if jobs else ""


def test_login_keeps_the_credentials_in_the_keychain_and_logout_takes_them_out(
    not_running: YarddeskProcess, registry: DockerRegistry, secret_service: SecretService
) -> None:
    said = log_in(not_running, registry.host)
    assert registry.host in said.stdout
    assert said.stderr == ""
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}
    not_running.run("logout", registry.host)
    assert kept_in(secret_service) == {}
    refused = not_running.run("logout", registry.host, status=1)
    assert f"no credentials for {registry.host}" in refused.stderr


def test_a_password_that_is_refused_is_1_and_nothing_is_kept(
    not_running: YarddeskProcess, registry: DockerRegistry, secret_service: SecretService
) -> None:
    refused = log_in(not_running, registry.host, "wrong", status=1)
    assert f"{registry.host} refused the password for `{USER}`" in refused.stderr
    assert kept_in(secret_service) == {}
    log_in(not_running, registry.host)
    log_in(not_running, registry.host, "wrong", status=1)
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}


def test_a_registry_out_of_reach_is_a_warning_and_the_credentials_are_kept(
    not_running: YarddeskProcess, registry: DockerRegistry, secret_service: SecretService
) -> None:
    registry.stop()
    said = log_in(not_running, registry.host)
    assert "could not be asked" in said.stderr
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}


def test_the_upstream_of_that_name_wins_over_the_host(
    not_running: YarddeskProcess, make_registry: MakeRegistry, registry: DockerRegistry, secret_service: SecretService
) -> None:
    other = make_registry(users={USER: "another"})
    log_in(not_running, "central")
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}
    not_running.run("logout", "central")
    # An upstream may be called as another registry's host is.
    not_running.configure(push_everything_to(registry.host, name=f'"{other.host}"'))
    log_in(not_running, other.host)
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}
    not_running.run("logout", other.host)
    assert kept_in(secret_service) == {}


def test_a_registry_that_is_no_upstream_can_be_signed_in_to(
    not_running: YarddeskProcess, make_registry: MakeRegistry, secret_service: SecretService
) -> None:
    other = make_registry(users={USER: "another"})
    log_in(not_running, other.host, "another")
    assert kept_in(secret_service) == {other.host: (USER, "another")}
    refused = not_running.run("login", "no registry!", "-u", USER, "--password-stdin", input_text="x", status=1)
    assert "neither an upstream's name nor a registry" in refused.stderr


@pytest.mark.parametrize("spelling", ["docker.io", "index.docker.io", "https://index.docker.io/v1/"])
def test_docker_hub_is_one_registry_in_all_its_spellings(
    not_running: YarddeskProcess, secret_service: SecretService, spelling: str
) -> None:
    # Nothing is dialled: the proxy that these tests name does not answer.
    with held_port() as port:
        nobody = f"http://127.0.0.1:{port}"
        not_running.environment |= {"HTTPS_PROXY": nobody, "HTTP_PROXY": nobody, "NO_PROXY": ""}
        assert "could not be asked" in log_in(not_running, spelling).stderr
    assert kept_in(secret_service) == {"docker.io": (USER, PASSWORD)}
    not_running.run("logout", "registry-1.docker.io")
    assert kept_in(secret_service) == {}


def test_at_a_terminal_user_and_password_are_asked_for_and_the_password_is_not_shown(
    not_running: YarddeskProcess, registry: DockerRegistry, secret_service: SecretService
) -> None:
    folders = ("--config", str(not_running.config_file), "--data-dir", str(not_running.data_dir))
    command = [sys.executable, "-m", "yarddesk", "login", registry.host, *folders]
    with Terminal.running(command, not_running.environment) as terminal:
        terminal.expect(f"User at {registry.host}:")
        terminal.type(USER)
        terminal.expect(f"Password of {USER} at {registry.host}:")
        terminal.type(PASSWORD)
        assert terminal.wait() == 0
    assert PASSWORD not in terminal.shown
    assert kept_in(secret_service) == {registry.host: (USER, PASSWORD)}


def test_without_a_terminal_what_is_missing_is_said_and_nothing_waits(
    not_running: YarddeskProcess, registry: DockerRegistry, secret_service: SecretService
) -> None:
    for arguments in ((), ("--username", USER), ("--password-stdin",)):
        refused = not_running.run("login", registry.host, *arguments, input_text="", status=2)
        assert "--password-stdin" in refused.stderr
    refused = log_in(not_running, registry.host, "", status=2)
    assert "must not be empty" in refused.stderr
    assert kept_in(secret_service) == {}


@pytest.fixture
def session(short_path: Path) -> Iterator[Callable[[State], SecretService]]:
    with ExitStack() as stack:

        def make(state: State) -> SecretService:
            service = SecretService(short_path / state, state)
            stack.callback(service.stop)
            service.start()
            return service

        yield make


@pytest.mark.parametrize(
    ("keychain", "words"),
    [("locked", "The keychain is locked"), ("absent", "no keychain on this machine"), (None, "no keychain")],
)
def test_without_a_keychain_it_is_said_and_nothing_is_kept_anywhere(
    tmp_path: Path,
    registry: DockerRegistry,
    session: Callable[[State], SecretService],
    keychain: State | None,
    words: str,
) -> None:
    environment = session(keychain).environment if keychain else {}
    folder = tmp_path / "alone"
    app = YarddeskProcess(folder, config=push_everything_to(registry.host), environment=environment)
    refused = log_in(app, registry.host, status=1)
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "keychain" in app.run("logout", registry.host, status=1).stderr
    assert files_with(forms_of(USER, PASSWORD), folder) == []


# With an instance that runs.


@pytest.fixture(params=["by password", "by token"])
def guarded(request: pytest.FixtureRequest, make_registry: MakeRegistry, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that lets nobody in without the password."""
    if request.param == "by password":
        yield make_registry(users={USER: PASSWORD})
        return
    tokens = TokenServer(tmp_path / "token server", users={USER: PASSWORD})
    tokens.start()
    try:
        yield make_registry(token=tokens.auth)
    finally:
        tokens.stop()


@pytest.fixture
def running(make_yarddesk: MakeYarddesk, guarded: DockerRegistry, secret_service: SecretService) -> YarddeskProcess:
    config = push_everything_to(guarded.host)
    return make_yarddesk(config=config, environment=secret_service.environment, options=["--log-level", "debug"])


def contents_of(registry: DockerRegistry, make_registry: MakeRegistry) -> DockerRegistry:
    """The same content behind an open door."""
    return make_registry(settings={"storage": {"filesystem": {"rootdirectory": str(registry.content_folder)}}})


def test_a_push_that_waits_for_a_user_goes_on_by_itself_after_login(
    running: YarddeskProcess, guarded: DockerRegistry, make_registry: MakeRegistry, tmp_path: Path
) -> None:
    image = build_image("signed in", (200_000, 3000))
    running.push("team/app", "1", image)
    until(lambda: state(running) == "blocked", 30, "a job that is blocked")
    (part,) = running.control("queue")["jobs"][0]["upstreams"]
    assert f"yarddesk login {guarded.host}" in part["reason"]
    with processes_watched(forms_of(USER, PASSWORD)) as seen:
        log_in(running, guarded.host)
    running.run("wait", "team/app:1", "--timeout", "60")
    assert contents_of(guarded, make_registry).holds("team/app", "1", image)
    # From the keychain after a restart as well, and nowhere else.
    running.restart()
    running.push("team/app", "2", build_image("after a restart"))
    running.run("wait", "--timeout", "60")
    assert seen == set()
    assert files_with(forms_of(USER, PASSWORD), running.folder) == []


def test_a_push_after_login_goes_up_at_once(
    running: YarddeskProcess, guarded: DockerRegistry, make_registry: MakeRegistry
) -> None:
    log_in(running, "central")
    image = build_image("at once")
    running.push("team/app", "1", image)
    running.run("wait", "team/app:1", "--timeout", "60")
    assert contents_of(guarded, make_registry).holds("team/app", "1", image)


def test_all_upstreams_of_a_registry_go_on_after_one_login(
    make_yarddesk: MakeYarddesk, registry: DockerRegistry, secret_service: SecretService
) -> None:
    shared = "\n".join(
        f"  - {{name: {name}, prefix: {name}, registry: '{registry.host}', path: from-{name}, push: true, "
        "tls: {plain_http: true}}"
        for name in ("one", "two")
    )
    app = make_yarddesk(config=f"upstreams:\n{shared}\n", environment=secret_service.environment)
    image = build_image("shared")
    for name in ("one", "two"):
        app.push(f"{name}/app", "1", image)
    until(lambda: app_states(app) == ["blocked", "blocked"], 30, "two jobs that are blocked")
    log_in(app, "two")
    app.run("wait", "--timeout", "60")
    assert registry.holds("from-one/app", "1", image)
    assert registry.holds("from-two/app", "1", image)


def app_states(app: YarddeskProcess) -> list[str]:
    jobs = app.control("queue")["jobs"]
    return [part["state"] for job in jobs for part in job["upstreams"]]


def test_after_logout_the_next_push_waits_for_a_user(running: YarddeskProcess, guarded: DockerRegistry) -> None:
    log_in(running, guarded.host)
    running.push("team/app", "1", build_image("signed in"))
    running.run("wait", "--timeout", "60")
    running.run("logout", guarded.host)
    running.push("team/app", "2", build_image("signed out"))
    until(lambda: state(running) == "blocked", 30, "a job that is blocked")


def test_what_was_denied_can_be_pulled_after_login(
    running: YarddeskProcess, guarded: DockerRegistry, make_registry: MakeRegistry
) -> None:
    image = build_image("private")
    contents_of(guarded, make_registry).push("team/private", "1", image)
    status, _, body = running.request("GET", "/v2/team/private/manifests/1")
    assert status == 403
    assert b"DENIED" in body
    assert b"central" in body or guarded.host.encode() in body
    log_in(running, guarded.host)
    assert running.holds("team/private", "1", image)


def test_another_account_is_used_from_the_next_push_on(
    make_yarddesk: MakeYarddesk, make_registry: MakeRegistry, token_server: TokenServer, secret_service: SecretService
) -> None:
    token_server.users = {"one": "secret of one", "two": "secret of two"}
    registry = make_registry(token=token_server.auth)
    app = make_yarddesk(config=push_everything_to(registry.host), environment=secret_service.environment)
    for number, user in enumerate(token_server.users):
        arguments = ("login", registry.host, "--username", user, "--password-stdin")
        app.run(*arguments, input_text=f"secret of {user}")
        app.push("team/app", str(number), build_image(user))
        app.run("wait", "--timeout", "60")
        scoped = [asked for asked in token_server.requests if asked.scopes]
        assert scoped[-1].account == user
    assert kept_in(secret_service) == {registry.host: ("two", "secret of two")}


def test_where_the_settings_say_otherwise_login_says_that_they_are_not_used(
    not_running: YarddeskProcess, registry: DockerRegistry
) -> None:
    more = '    auth: {type: basic, username: ci, password: "${OF_CI}"}\n'
    not_running.configure(push_everything_to(registry.host, more=more))
    assert "central does not use them: its auth.type in the settings is basic" in log_in(not_running, "central").stderr


def test_a_password_that_changed_blocks_and_a_new_login_goes_on(
    make_yarddesk: MakeYarddesk, make_registry: MakeRegistry, secret_service: SecretService
) -> None:
    registry = make_registry(users={USER: "the old one"})
    app = make_yarddesk(config=push_everything_to(registry.host), environment=secret_service.environment)
    log_in(app, registry.host, "the old one")
    app.push("team/app", "1", build_image("before"))
    app.run("wait", "--timeout", "60")
    registry.stop()
    registry.users = {USER: PASSWORD}
    registry.start()
    app.push("team/app", "2", build_image("after"))
    until(lambda: state(app) == "blocked", 30, "a job that is blocked")
    assert f"refused the password for `{USER}`" in app.control("queue")["jobs"][0]["upstreams"][0]["reason"]
    log_in(app, registry.host)
    app.run("wait", "--timeout", "60")


def test_while_the_keychain_is_locked_the_queue_says_so_and_goes_on_once_it_is_not(
    make_yarddesk: MakeYarddesk, registry: DockerRegistry, secret_service: SecretService
) -> None:
    app = make_yarddesk(config=push_everything_to(registry.host), environment=secret_service.environment)
    log_in(app, registry.host)
    secret_service.lock()
    image = build_image("locked")
    app.push("team/app", "1", image)
    until(lambda: state(app) == "blocked", 60, "a job that is blocked")
    (part,) = app.control("queue")["jobs"][0]["upstreams"]
    assert "The keychain is locked." in part["reason"]
    secret_service.unlock()
    app.run("retry", "--all")
    app.run("wait", "--timeout", "60")
    assert registry.holds("team/app", "1", image)
