"""What the window shows, for each thing that can be the case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from PySide6.QtCore import Qt, QUrl
from PySide6.QtWidgets import QLabel

from tests.gui.front import Front
from tests.support.fake_yard import MB, entry, health, job, part, progress, upstream
from yarddesk.desktop.core import Problem, Remedy
from yarddesk.desktop.dialogs.details import Details
from yarddesk.desktop.tasks import Failure
from yarddesk.desktop.views.parts import Button
from yarddesk.events import SettingsChanged, StorageChanged
from yarddesk.oci.name import RepositoryName
from yarddesk.service.markers import marker_problem
from yarddesk.sync.snapshot import JobSnapshot, SetAsideMarker
from yarddesk.sync.states import JobState


def going(done: int = 212, rate: int = 18) -> JobSnapshot:
    return job("team/app:1", part(JobState.TRANSFERRING, progress=progress(done * MB, 340 * MB, rate=rate * MB)))


def test_an_image_on_its_way_has_a_row_that_follows_it(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=(going(),), bytes_per_second=18.0 * MB)
        (row,) = front.rows()
        assert (row.name, row.status) == ("team/app:1", "212 of 340 MB · 18 MB/s · 7 s left")
        await front.show_snapshot(jobs=(going(303),))
        assert front.rows()[0].status == "303 of 340 MB · 18 MB/s · 2 s left"
        assert "Syncing 1 image" in front.text()
        assert front.window.sidebar.button("queue").accessibleName() == "Queue, 1 waiting"

    with_front(body)


def test_progress_is_followed_without_events(with_front, yard):
    from dataclasses import replace

    async def body(front: Front):
        await front.show_snapshot(jobs=(going(),))
        yard.sync.shown = replace(yard.sync.shown, revision=99, jobs=(going(250),))
        await front.shows(lambda: front.rows()[0].status.startswith("250 of"), "the new figures")

    with_front(body)


def test_what_was_synced_today_stands_below_the_queue(with_front):
    async def body(front: Front):
        now = datetime.now(UTC)
        await front.show_snapshot(
            jobs=(going(),), recent=(entry("team/app:0", at=now), entry("b:1", at=now - timedelta(days=2)))
        )
        assert [row.name for row in front.rows()] == ["team/app:1", "Done today", "team/app:0"]
        assert front.rows()[2].status == "sent 12 MB, 328 MB were there"

    with_front(body)


def test_an_image_that_needs_the_person_shows_it_in_the_row_the_header_and_the_sidebar(with_front):
    async def body(front: Front):
        refused = part(JobState.BLOCKED, reason="registry.corp refused the password for “ci”", needs_credentials=True)
        await front.show_snapshot(
            jobs=(job("team/base:1", refused),), upstreams=(health("registry.corp", "needs_you", "refused"),)
        )
        assert front.rows()[0].status == "Needs you: registry.corp refused the password for “ci”."
        assert "registry.corp asks you to sign in" in front.text()
        assert front.window.sidebar.button("queue").accessibleName() == "Queue, 1 waiting, needs you"
        assert front.window.sidebar.button("upstreams").accessibleName() == "Upstreams, needs you"

    with_front(body)


def test_a_pause_is_said_with_its_end_and_can_be_ended(with_front):
    async def body(front: Front):
        await front.show_snapshot(paused=True, paused_until=datetime.now(UTC) + timedelta(hours=30))
        assert "Paused until" in front.text()
        assert front.window.header.pause_button.text() == "Resume"

    with_front(body)


def test_without_a_push_upstream_the_empty_window_offers_to_add_one(with_front, yard):
    yard.listed.clear()

    async def body(front: Front):
        empty = front.queue.no_upstream
        assert empty.isVisible()
        assert not empty.button.isEnabled()
        empty.field.setText("registry.corp/team")
        front.click(empty.button)
        await front.settle()
        assert [(each.registry, each.path, each.push) for each in yard.listed] == [("registry.corp", "team", True)]
        await front.shows(front.queue.nothing_waits.isVisible)

    with_front(body)


def test_an_upstream_that_cannot_be_added_says_why_beside_the_field(with_front, yard):
    from yarddesk.settings.errors import SettingsError

    yard.listed.clear()
    yard.refuse = SettingsError("", "upstreams", "“http//x” is no URL")

    async def body(front: Front):
        empty = front.queue.no_upstream
        empty.field.setText("http//x")
        front.press(Qt.Key.Key_Return)
        await front.settle()
        assert "“http//x” is no URL" in front.text()
        assert empty.button.isEnabled()

    with_front(body)


def test_with_one_the_empty_window_teaches_the_command(with_front, qapp):
    async def body(front: Front):
        assert front.queue.nothing_waits.isVisible()
        assert front.queue.nothing_waits.command.command == "docker push localhost:5050/hello:latest"
        front.queue.nothing_waits.command._copy.click()
        assert qapp.clipboard().text() == "docker push localhost:5050/hello:latest"
        assert front.window.toast.isVisible()

    with_front(body)


def test_what_stops_everything_has_a_banner_with_its_remedy(with_front, yard):
    async def body(front: Front):
        assert not front.window.banner.isVisible()
        yard.shown_problems = (
            Problem("The disk is nearly full.", "Free some space.", "1 byte", Remedy.SHOW_UPSTREAMS),
        )
        yard.tell(SettingsChanged())
        await front.shows(front.window.banner.isVisible)
        assert front.window.banner.text == "The disk is nearly full. Free some space."
        remedy = next(
            b
            for b in front.window.banner.findChildren(type(front.window.upstreams_page.add_button))
            if b.text() == "Show upstreams"
        )
        front.click(remedy)
        assert front.window.page == "upstreams"
        yard.shown_problems = ()
        yard.tell(SettingsChanged())
        await front.shows(lambda: not front.window.banner.isVisible())

    with_front(body)


def test_what_can_wait_is_told_after_what_a_person_just_did_not_get_and_leads_to_its_folder(
    with_front, yard, monkeypatch
):
    opened: list[str] = []

    def open_url(url: QUrl) -> bool:
        opened.append(url.path())
        return True

    monkeypatch.setattr("yarddesk.desktop.actions.QDesktopServices.openUrl", open_url)
    aside = (SetAsideMarker("team/app/1.json.damaged", "It is not JSON."),)

    async def body(front: Front):
        problem = marker_problem(replace(yard.sync.shown, set_aside=aside), yard.data_dir)
        assert problem is not None
        yard.shown_problems = (problem,)
        await front.show_snapshot(set_aside=aside)
        banner = front.window.banner
        assert "A file in the queue's folder can't be used." in banner.text
        buttons = {button.text(): button for button in banner.findChildren(Button) if button.isVisible()}
        front.click(buttons["Open folder"])
        assert opened == [str(yard.data_dir / "pending")]
        assert front.window.toast.text() == f"Opening {opened[0]}"
        front.click(buttons["Details…"])
        assert "team/app/1.json.damaged: It is not JSON." in front.dialog(Details).text.toPlainText()
        front.dialog(Details).reject()
        front.window.show_failure(Failure("Cancelling did not work."))
        assert banner.text == "Cancelling did not work."
        banner.closed.emit()
        await front.settle()
        assert "queue's folder" in front.window.banner.text
        yard.shown_problems = (problem, Problem("The disk is nearly full."))
        yard.tell(SettingsChanged())
        await front.shows(lambda: banner.text == "The disk is nearly full.")

    with_front(body)


def test_paused_repositories_are_in_view_and_go_on_from_there(with_front, yard):
    def paused(**names: datetime | None) -> dict[RepositoryName, datetime | None]:
        return {RepositoryName.parse(f"team/{name}"): until for name, until in names.items()}

    async def body(front: Front):
        strip = front.queue.paused
        assert not strip.isVisible()
        until = front.shell.bridge.now() + timedelta(minutes=5)
        await front.show_snapshot(paused_repositories=paused(old=None, app=until))
        assert strip.isVisible()
        assert strip.text == f"Paused until {until:%H:%M}: team/app\nPaused: team/old"
        assert strip.buttons[0].accessibleName() == "Resume team/app"
        front.click(strip.buttons[1])
        await front.settle()
        assert yard.sync.calls == [("resume", "team/old")]
        await front.show_snapshot(paused_repositories=paused(a=None, b=None, c=None, d=None))
        assert strip.text == "Paused: team/a\nPaused: team/b\n2 more repositories are paused"
        await front.show_snapshot(paused_repositories={})
        assert not strip.isVisible()

    with_front(body)


def test_the_cache_and_its_bound_are_always_in_view(with_front, yard):
    async def body(front: Front):
        assert "14.2 GB of 20 GB" in front.text()
        yard.stored = 15_000 * MB
        yard.tell(StorageChanged(used_bytes=yard.stored))
        await front.shows(lambda: "15 GB of 20 GB" in front.text())

    with_front(body)


def test_each_upstream_has_a_card_that_says_how_it_is(with_front, yard):
    yard.listed.append(upstream("ghcr.io", name="tools", prefix="tools", pull=False))

    async def body(front: Front):
        front.window.show_page("upstreams")
        await front.show_snapshot(upstreams=(health("registry.corp", "away", "connection refused"),))
        assert "Out of reach: connection refused." in front.text()
        assert "localhost:5050/tools/… → ghcr.io/…" in front.text()
        card = front.window.upstreams_page.cards["tools"]
        await yard.remove_upstream("registry.corp")
        await front.shows(lambda: list(front.window.upstreams_page.cards) == ["tools"])
        assert front.window.upstreams_page.cards["tools"] is card

    with_front(body)


def test_activity_lists_what_was_synced_and_finds_it(with_front, yard):
    now = datetime.now(UTC)
    yard.sync.entries = [
        entry("team/app:2", at=now),
        entry("team/app:1", at=now, outcome=JobState.FAILED, reason="the name was refused"),
    ]

    async def body(front: Front):
        front.window.show_page("activity")
        page = front.window.activity_page
        assert [row.name for row in front.rows(page.view)] == ["Today", "team/app:2", "team/app:1"]
        front.click(page.chip("Failed"))
        assert [row.name for row in front.rows(page.view)] == ["Today", "team/app:1"]
        front.click(page.chip("All"))
        page.search.setText("app:2")
        await front.shows(lambda: [row.name for row in front.rows(page.view)] == ["Today", "team/app:2"])

    with_front(body)


def test_labels_show_text_of_any_origin_as_plain_text(with_front, yard):
    yard.listed.append(upstream("evil.example", name="<b>evil</b>"))

    async def body(front: Front):
        await front.show_snapshot(
            jobs=(job("a:1", part(JobState.FAILED, reason="<img src=http://x/>")),),
            upstreams=(health("<b>evil</b>", "trouble", "<a href=x>click</a>"),),
        )
        for page in ("queue", "upstreams", "activity", "setup"):
            front.window.show_page(page)
            labels = front.window.findChildren(QLabel)
            assert labels
            assert all(label.textFormat() is Qt.TextFormat.PlainText for label in labels)

    with_front(body)


def test_a_narrow_window_keeps_the_glyphs_of_its_pages(with_front):
    async def body(front: Front):
        wide = front.window.sidebar.width()
        front.window.resize(640, 420)
        await front.settle()
        assert front.window.sidebar.width() < wide / 2
        assert "Queue" in front.window.sidebar.button("queue").toolTip()
        assert front.window.width() == 640

    with_front(body)


def test_what_did_not_work_is_told_until_it_is_closed(with_front, yard):
    from yarddesk.errors import YarddeskError

    async def body(front: Front):
        yard.sync.refuse = YarddeskError("The journal can't be written.", hint="Free some space.")
        front.actions.pause.trigger()
        await front.settle()
        assert front.window.banner.text == "Pausing did not work. The journal can't be written. Free some space."
        front.click(front.window.banner._close)
        assert not front.window.banner.isVisible()

    with_front(body)


def test_a_fault_of_our_own_is_told_and_logged(with_front, yard, caplog):
    async def body(front: Front):
        async def broken(*_args, **_more):
            raise ZeroDivisionError("oh")

        yard.sync.pause = broken
        front.actions.pause.trigger()
        await front.settle()
        assert "yarddesk itself made a mistake" in front.window.banner.text
        assert "ZeroDivisionError" in caplog.text

    with_front(body)


def test_the_line_below_a_row_is_one_pixel_high(with_front, tokens):
    async def body(front: Front):
        await front.show_snapshot(jobs=(job("a:1", part(JobState.QUEUED)), job("b:1", part(JobState.QUEUED))))
        view = front.queue.view
        bottom = view.visualRect(view.model().index(0, 0)).bottom()
        picture = view.viewport().grab().toImage()
        column = [picture.pixelColor(view.width() // 2, bottom + step).name() for step in (-1, 0, 1)]
        assert column == [tokens.surface.name(), tokens.line.name(), tokens.surface.name()]

    with_front(body)
