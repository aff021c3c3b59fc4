"""Signing in, adding and removing upstreams, and a start that does not work."""

import asyncio
from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit

from tests.gui.front import Front
from tests.support.fake_yard import health, job, part, upstream
from yarddesk.content.credentials import CredentialUnavailable, Secret
from yarddesk.content.pull_through import PullHealth
from yarddesk.content.upstream import Quota
from yarddesk.desktop.actions import JobAction
from yarddesk.desktop.core import SignInResult
from yarddesk.desktop.dialogs.add_upstream import AddUpstream
from yarddesk.desktop.dialogs.confirm import Confirm
from yarddesk.desktop.dialogs.sign_in import SignIn
from yarddesk.desktop.dialogs.start_trouble import WAITS_SECONDS, StartTrouble
from yarddesk.errors import YarddeskError
from yarddesk.events import PullHealthChanged
from yarddesk.settings.model import AuthSettings, AuthType
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState


def refused() -> JobSnapshot:
    return job("team/base:1", part(JobState.BLOCKED, reason="it refused the password for ci", needs_credentials=True))


async def fill_in(front: Front, user: str, password: str) -> SignIn:
    dialog = front.dialog(SignIn)
    dialog.user.setText(user)
    dialog.password.setText(password)
    front.click(dialog.sign_in_button)
    await front.settle()
    return dialog


def test_sign_in_from_the_row_keeps_the_credential(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(refused(),))
        front.click_row_button(0, JobAction.SIGN_IN)
        dialog = front.dialog(SignIn)
        assert dialog.windowTitle() == "Sign in to registry.corp"
        assert dialog.password.echoMode() is QLineEdit.EchoMode.Password
        assert not dialog.sign_in_button.isEnabled()
        await fill_in(front, "ci", "right")
        assert yard.signed_in == [("registry.corp", "ci", Secret("right"))]
        assert front.shell.dialogs == ()
        assert front.window.toast.text() == "Signed in to registry.corp"

    with_front(body)


def test_where_the_settings_say_how_to_sign_in_the_row_opens_them_in_place_of_a_dialog(with_front, yard, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("yarddesk.desktop.actions.QDesktopServices.openUrl", lambda url: opened.append(url.path()))
    refused = part(JobState.BLOCKED, reason="it refused the password for ci", needs_settings=True)

    async def body(front: Front):
        yard.settings_file.write_text("upstreams: []\n")
        await front.show_snapshot(jobs=(job("team/base:1", refused),))
        assert "asks you to sign in" not in front.text()
        front.click_row_button(0, JobAction.OPEN_SETTINGS)
        assert opened == [str(yard.settings_file)]
        assert front.shell.dialogs == ()

    with_front(body)


def test_a_refused_password_can_be_tried_again_in_place(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(refused(),))
        front.click_row_button(0, JobAction.SIGN_IN)
        dialog = await fill_in(front, "ci", "wrong")
        assert dialog.isVisible()
        told = "registry.corp refused the password for ci: authentication required (UNAUTHORIZED)."
        assert dialog._wrong.text() == told
        await fill_in(front, "ci", "right")
        assert len(yard.signed_in) == 1

    with_front(body)


def test_a_keychain_that_is_locked_says_so_and_keeps_the_form(with_front, yard):
    async def body(front: Front):
        async def locked(*_):
            raise CredentialUnavailable("The keychain is locked.", hint="Unlock it and try again.")

        yard.sign_in = locked
        front.window.show_page("upstreams")
        front.click(front.window.upstreams_page.cards["registry.corp"].sign_in_button)
        dialog = await fill_in(front, "ci", "right")
        assert dialog._wrong.text() == "The keychain is locked. Unlock it and try again."

    with_front(body)


def test_a_registry_that_is_away_keeps_the_credential_and_says_that_it_was_not_checked(with_front, yard):
    async def body(front: Front):
        async def unchecked(*_):
            return SignInResult(checked=False, reason="no route to host")

        yard.sign_in = unchecked
        front.actions.sign_in_asked.emit("registry.corp", "")
        await fill_in(front, "ci", "right")
        assert front.window.banner.text == "Kept, but not checked: registry.corp is out of reach. no route to host."

    with_front(body)


def test_a_password_leaves_nothing_in_the_closed_dialog(with_front):
    async def body(front: Front):
        front.actions.sign_in_asked.emit("registry.corp", "")
        dialog = front.dialog(SignIn)
        dialog.password.setText("hunter2")
        dialog.reject()
        assert dialog.password.text() == ""

    with_front(body)


def test_an_upstream_is_added_with_its_route_in_words(with_front, yard):
    async def body(front: Front):
        front.actions.add_upstream.trigger()
        dialog = front.dialog(AddUpstream)
        dialog.url.setText("https://ghcr.io/acme")
        dialog.prefix.setText("tools/")
        dialog.pull.setChecked(False)
        assert dialog._route.text() == "localhost:5050/tools/app  →  ghcr.io/acme/app"
        front.click(dialog.add_button)
        await front.settle()
        added = yard.listed[-1]
        assert (added.registry, added.path, added.prefix, added.push, added.pull) == (
            "ghcr.io",
            "acme",
            "tools",
            True,
            False,
        )
        assert front.shell.dialogs == ()

    with_front(body)


def test_an_upstream_that_goes_no_way_can_not_be_added(with_front):
    async def body(front: Front):
        front.actions.add_upstream.trigger()
        dialog = front.dialog(AddUpstream)
        dialog.url.setText("ghcr.io")
        dialog.push.setChecked(False)
        dialog.pull.setChecked(False)
        assert not dialog.add_button.isEnabled()

    with_front(body)


def test_a_wrong_upstream_says_why_in_the_form(with_front, yard):
    yard.refuse = YarddeskError("registry.corp has that prefix already.")

    async def body(front: Front):
        front.actions.add_upstream.trigger()
        dialog = front.dialog(AddUpstream)
        dialog.url.setText("registry.corp")
        front.click(dialog.add_button)
        await front.settle()
        assert dialog.isVisible()
        assert dialog._wrong.text() == "registry.corp has that prefix already."
        assert dialog.add_button.isEnabled()

    with_front(body)


def test_removing_an_upstream_asks_first(with_front, yard):
    yard.listed.append(upstream("ghcr.io"))

    async def body(front: Front):
        front.window.show_page("upstreams")
        front.click(front.window.upstreams_page.cards["ghcr.io"].remove_button)
        front.click(front.dialog(Confirm).yes_button)
        await front.settle()
        assert [each.name for each in yard.listed] == ["registry.corp"]

    with_front(body)


def test_only_an_upstream_that_wants_credentials_suggests_to_sign_in(with_front):
    async def body(front: Front):
        front.window.show_page("upstreams")
        card = front.window.upstreams_page.cards["registry.corp"]
        untrusted = health("registry.corp", "needs_you", "Its certificate is not trusted.")
        await front.show_snapshot(upstreams=(untrusted,))
        assert "Needs you: Its certificate is not trusted." in front.text()
        assert card.sign_in_button.property("face") == ""
        await front.show_snapshot(upstreams=(replace(untrusted, needs_credentials=True),))
        assert card.sign_in_button.property("face") == "main"

    with_front(body)


def test_an_upstream_whose_sign_in_is_fixed_by_the_settings_opens_them_when_it_is_refused(
    with_front, yard, monkeypatch
):
    opened: list[str] = []
    monkeypatch.setattr("yarddesk.desktop.actions.QDesktopServices.openUrl", lambda url: opened.append(url.path()))
    yard.listed[:] = [upstream(auth=AuthSettings(AuthType.BASIC, "ci", Secret("wrong")))]
    yard.settings_file.write_text("upstreams: []\n")

    async def body(front: Front):
        front.window.show_page("upstreams")
        card = front.window.upstreams_page.cards["registry.corp"]
        assert not card.settings_button.isVisible()
        refused = health("registry.corp", "needs_you", "It refused the password for ci.")
        await front.show_snapshot(upstreams=(replace(refused, needs_settings=True),))
        assert not card.sign_in_button.isVisible()
        front.click(card.settings_button)
        assert opened == [str(yard.settings_file)]

    with_front(body)


def test_an_upstream_says_how_pulls_go_and_how_many_are_left(with_front, yard):
    async def body(front: Front):
        front.window.show_page("upstreams")
        assert "Pulls get" not in front.text()
        assert "pulls left" not in front.text()
        yard.pulls["registry.corp"] = PullHealth("waits", "It asks to wait.", Quota(100, 76, 21600))
        yard.tell(PullHealthChanged(upstream="registry.corp", state="waits"))
        await front.shows(
            lambda: "Pulls get what is cached, and don’t ask it for a while: It asks to wait." in front.text()
        )
        assert "76 of 100 pulls left in 6 h." in front.text()
        yard.pulls.clear()
        yard.tell(PullHealthChanged(upstream="registry.corp", state="ok"))
        await front.shows(lambda: "76 of 100" not in front.text())
        yard.pulls["registry.corp"] = PullHealth("offline", "cache.offline is set.")
        yard.tell(PullHealthChanged(upstream="registry.corp", state="offline"))
        await front.shows(lambda: "Pulls get what is cached, and don’t ask it: cache.offline is set." in front.text())

    with_front(body)


def test_an_upstream_that_only_pulls_ask_says_how_it_is(with_front, yard):
    async def body(front: Front):
        front.window.show_page("upstreams")
        await front.show_snapshot(upstreams=(health("registry.corp", "unknown"),))
        assert "Not asked yet" in front.text()
        yard.pulls["registry.corp"] = PullHealth(answered=True)
        yard.tell(PullHealthChanged(upstream="registry.corp", state="ok"))
        await front.shows(lambda: "Answers" in front.text())
        yard.pulls["registry.corp"] = PullHealth("away", "It gave no answer.", answered=True)
        yard.tell(PullHealthChanged(upstream="registry.corp", state="away"))
        await front.shows(lambda: "Out of reach: It gave no answer." in front.text())
        assert "Pulls get what is cached, and don’t ask it for a while." in front.text()

    with_front(body)


def test_an_upstream_is_paused_and_resumed_by_its_card(with_front, yard):
    async def body(front: Front):
        front.window.show_page("upstreams")
        card = front.window.upstreams_page.cards["registry.corp"]
        front.click(card.pause_button)
        await front.show_snapshot(upstreams=(health("registry.corp", paused=True),))
        assert card.pause_button.text() == "Resume"
        front.click(card.pause_button)
        await front.settle()
        assert yard.sync.calls == [("pause", "registry.corp", None), ("resume", "registry.corp")]

    with_front(body)


def test_a_start_that_failed_says_why_and_closes_by_itself_unless_somebody_is_there(on_loop, qapp):
    from PySide6.QtTest import QTest

    async def body():
        error = YarddeskError("Port 5050 is taken.", "nginx (pid 4711) holds it.", hint="End it, or use --port.")
        dialog = StartTrouble(error)
        dialog.open()
        assert f"{WAITS_SECONDS} s" in dialog.close_button.text()
        QTest.keyClick(dialog, Qt.Key.Key_Tab)
        assert dialog.close_button.text() == "Close"
        answers: list[bool] = []
        dialog.answered.connect(answers.append)
        dialog.again_button.click()
        await asyncio.sleep(0)
        assert answers == [True]

    on_loop(body)
