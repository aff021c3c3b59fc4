"""Signing in by the window: a real desktop, a real keychain, registries that ask for a password, real clicks and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.secrets import files_with, forms_of, kept_in, processes_watched
from tests.acceptance.settings import push_everything_to
from tests.peers.desktop import Desktop
from tests.peers.registry import DockerRegistry
from tests.peers.screen_reader import ScreenReader, Thing
from tests.peers.secret_service import SecretService
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.pictures import Picture
from tests.support.waiting import until

USER = "ci"
PASSWORD = "c4nary-pass/word?of+tests"
ACCENT = (0x2F, 0x6F, 0xED)


@dataclass
class Signing:
    """The app on its desktop, the registry that asks for a password, the keychain, and what a screen reader tells."""

    app: YarddeskProcess
    desktop: Desktop
    registry: DockerRegistry
    keychain: SecretService
    reader: ScreenReader

    def row(self) -> Thing:
        """The first image in the queue."""
        return self.reader.find("tree item", "team/app:1")

    def fill_in(self, password: str) -> None:
        """The dialog's two fields, as a person does it, and Return."""
        self.reader.find("text", "Password or token")
        until(lambda: self.reader.find("text", "User name").focused, 30, "the field for the user has the focus")
        self.desktop.type(USER)
        self.desktop.key("Tab")
        until(lambda: self.reader.find("text", "Password or token").focused, 30, "the password's field")
        self.desktop.type(password)
        self.desktop.key("Return")


@pytest.fixture
def make_signing(
    make_yarddesk: Callable[..., YarddeskProcess],
    make_registry: Callable[..., DockerRegistry],
    desktop: Desktop,
) -> Iterator[Callable[[SecretService], Signing]]:
    with ExitStack() as stack:

        def make(keychain: SecretService) -> Signing:
            registry = make_registry(users={USER: PASSWORD})
            environment = desktop.environment | keychain.environment | ScreenReader.environment(keychain.address)
            config = push_everything_to(registry.host)
            options = ["--log-level", "debug"]
            app = make_yarddesk(mode="desktop", config=config, environment=environment, options=options)
            window = desktop.wait_for_window("--name", "yarddesk")
            desktop.activate(window.id)
            reader = stack.enter_context(ScreenReader(keychain.address, desktop, app.pid))
            return Signing(app, desktop, registry, keychain, reader)

        yield make


@pytest.fixture
def signing(make_signing: Callable[[SecretService], Signing], secret_service: SecretService) -> Signing:
    return make_signing(secret_service)


def painted(picture: Picture, thing: Thing, colour: tuple[int, int, int]) -> tuple[int, int] | None:
    """The middle of what is painted in a colour inside a thing; None where nothing is."""
    places = [
        (x, y)
        for y in range(thing.y, thing.y + thing.height)
        for x in range(thing.x, thing.x + thing.width)
        if picture.pixel(x, y) == colour
    ]
    if not places:
        return None
    across, down = [x for x, _ in places], [y for _, y in places]
    return (min(across) + max(across)) // 2, (min(down) + max(down)) // 2


def test_an_upstream_asks_for_a_user_and_gets_one_at_a_click(signing: Signing, tmp_path: Path) -> None:
    image = build_image("signed in")
    signing.app.push("team/app", "1", image)
    asked = signing.reader.expect("asks for a user name and password")
    assert asked.startswith(f"team/app:1 to {signing.registry.host}. Needs you:")
    signing.reader.expect(f"{signing.registry.host} asks you to sign in")
    signing.desktop.screenshot(tmp_path / "asks.png")

    button = until(lambda: painted(signing.desktop.picture(), signing.row(), ACCENT), 30, "the button in the row")
    assert button is not None
    signing.desktop.click(*button)
    signing.reader.expect(f"Sign in to {signing.registry.host}")
    signing.fill_in("wrong")
    signing.reader.expect(f"refused the password for `{USER}`")
    signing.desktop.screenshot(tmp_path / "refused.png")
    assert kept_in(signing.keychain) == {}
    # The field has the focus, and what was wrong in it is selected.
    until(lambda: signing.reader.find("text", "Password or token").focused, 30, "the password's field")
    with processes_watched(forms_of(USER, PASSWORD)) as seen:
        signing.desktop.type(PASSWORD)
        assert PASSWORD not in signing.reader.text()
        signing.desktop.screenshot(tmp_path / "filled in.png")
        signing.desktop.key("Return")
        signing.app.run("wait", "team/app:1", "--timeout", "60")
    assert signing.registry.holds("team/app", "1", image)
    assert kept_in(signing.keychain) == {signing.registry.host: (USER, PASSWORD)}
    signing.reader.expect_gone("asks for a user")
    signing.reader.expect("team/app:1")
    signing.desktop.screenshot(tmp_path / "synced.png")
    assert seen == set()
    assert files_with(forms_of(USER, PASSWORD), signing.app.folder) == []


def test_the_same_by_keyboard_alone(signing: Signing) -> None:
    image = build_image("by keyboard")
    signing.app.push("team/app", "1", image)
    signing.reader.expect("asks for a user name and password")
    signing.desktop.key("Home")
    signing.reader.find("push button", "Sign in")
    signing.desktop.key("ctrl+l")
    signing.fill_in(PASSWORD)
    signing.app.run("wait", "team/app:1", "--timeout", "60")
    assert signing.registry.holds("team/app", "1", image)


def test_signing_in_before_the_first_push_and_out_again_on_the_page_of_upstreams(signing: Signing) -> None:
    signing.desktop.key("ctrl+2")
    signing.reader.click("push button", "Sign in", within="Upstream central")
    signing.fill_in(PASSWORD)
    until(lambda: kept_in(signing.keychain), 30, "a credential in the keychain")
    image = build_image("before")
    signing.app.push("team/app", "0", image)
    signing.app.run("wait", "team/app:0", "--timeout", "60")
    assert signing.registry.holds("team/app", "0", image)
    signing.reader.click("push button", "Sign out", within="Upstream central")
    until(lambda: not kept_in(signing.keychain), 30, "no credential in the keychain")
    signing.app.push("team/app", "1", build_image("after"))
    signing.desktop.key("ctrl+1")
    signing.reader.expect("asks for a user name and password")


def test_a_locked_keychain_is_said_in_the_dialog_and_nothing_is_kept_elsewhere(
    make_signing: Callable[[SecretService], Signing], short_path: Path
) -> None:
    keychain = SecretService(short_path / "locked", "locked")
    keychain.start()
    try:
        signing = make_signing(keychain)
        signing.app.push("team/app", "1", build_image("locked"))
        signing.reader.expect("Needs you")
        signing.desktop.key("Home")
        signing.reader.find("push button", "Sign in")
        signing.desktop.key("ctrl+l")
        signing.fill_in(PASSWORD)
        signing.reader.expect("The keychain is locked.")
        signing.reader.find("text", "Password or token")
        assert files_with(forms_of(USER, PASSWORD), signing.app.folder) == []
    finally:
        keychain.stop()
