"""The page that sets up container engines: seen, applied, proved, undone."""

from tests.gui.front import Front
from tests.support.fake_yard import FakeEngine
from yarddesk.engines.model import ProofFailed, SetupState


def test_an_engine_is_set_up_at_one_click_proved_and_undone(with_front, yard):
    async def body(front: Front):
        front.window.show_page("setup")
        await front.settle()
        card = front.window.setup_page.cards["docker"]
        assert '+  "insecure-registries": ["localhost:5050"]' in card.diff.toPlainText()
        front.click(card.apply_button)
        await front.settle()
        assert card.result.text() == "Pushed a tiny image in 0.4 s and pulled it in 0.2 s."
        assert not card.apply_button.isVisible()
        front.click(card.prove_button)
        await front.settle()
        assert card.result.text() == "Pushed a tiny image in 0.3 s and pulled it in 0.1 s."
        front.click(card.undo_button)
        await front.settle()
        assert "to the byte" in card.result.text()
        assert card.diff.isVisible()

    with_front(body)


def test_what_the_engine_refuses_is_said_in_its_card(with_front, yard):
    yard.engines[0].refuse = ProofFailed("Docker could not push.", "connection refused", hint="All is put back.")

    async def body(front: Front):
        front.window.show_page("setup")
        await front.settle()
        card = front.window.setup_page.cards["docker"]
        front.click(card.apply_button)
        await front.settle()
        assert card.result.text() == "Docker could not push. connection refused. All is put back."
        assert card.apply_button.isEnabled()

    with_front(body)


def test_engines_that_are_not_here_are_folded_away(with_front, yard):
    yard.engines = (FakeEngine("docker", "Docker Engine"), FakeEngine("podman", "Podman", SetupState.ABSENT))

    async def body(front: Front):
        front.window.show_page("setup")
        await front.settle()
        page = front.window.setup_page
        assert list(page.cards) == ["docker"]
        assert page.absent_button.text() == "Show what was not found (1)"
        front.click(page.absent_button)
        assert "Podman: not on this machine" in front.text()

    with_front(body)


def test_an_engine_that_goes_and_comes_is_followed(with_front, yard):
    engine = yard.engines[0]

    async def body(front: Front):
        front.window.show_page("setup")
        await front.settle()
        for state, cards in ((SetupState.ABSENT, []), (SetupState.BLOCKED, ["docker"])):
            engine.state = state
            front.click(front.window.setup_page.check_button)
            await front.settle()
            assert list(front.window.setup_page.cards) == cards
        card = front.window.setup_page.cards["docker"]
        assert not card.apply_button.isVisible()
        assert "can’t be read" in front.text()

    with_front(body)
