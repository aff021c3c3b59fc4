"""A small window with large letters: what matters is shown whole, and nothing is cut through."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QRect
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QApplication

from tests.gui.front import Front
from tests.support.fake_yard import health
from yarddesk.desktop import theme
from yarddesk.desktop.actions import JobAction
from yarddesk.desktop.views.parts import ElidedLabel
from yarddesk.desktop.views.row_layout import job_layout


@pytest.fixture(autouse=True)
def large_letters(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[None]:
    """One and a half times the usual size, or as large as a test says."""
    font = qapp.font()
    larger = QFont(font)
    larger.setPointSizeF(font.pointSizeF() * getattr(request, "param", 1.5))
    qapp.setFont(larger)
    yield
    qapp.setFont(font)


def test_every_filter_of_the_activity_has_its_word_whole(with_front):
    async def body(front: Front):
        front.window.resize(640, 420)
        front.window.show_page("activity")
        await front.settle()
        page = front.window.activity_page
        chips = [page.chip(text) for text in ("All", "Synced", "Failed", "Cancelled")]
        await front.shows(lambda: all(chip.width() >= chip.sizeHint().width() for chip in chips))

    with_front(body)


def test_a_change_that_is_wider_than_its_card_scrolls_sideways_alone(with_front):
    async def body(front: Front):
        front.window.resize(640, 420)
        front.window.show_page("setup")
        await front.settle()
        diff = front.window.setup_page.cards["docker"].diff
        diff.setPlainText(diff.toPlainText() + " " + "x" * 200)
        await front.shows(diff.horizontalScrollBar().isVisible, "a bar to scroll sideways")
        lines = diff.fontMetrics().lineSpacing() * diff.blockCount() + 2 * round(diff.document().documentMargin())
        await front.shows(lambda: diff.viewport().height() >= lines)

    with_front(body)


@pytest.mark.parametrize("large_letters", [1.0, 1.5, 2.0], indirect=True)
def test_a_word_of_the_sidebar_does_not_run_into_the_dot_beside_it(with_front):
    async def body(front: Front):
        front.window.resize(980, 640)
        await front.show_snapshot(upstreams=(health("registry.corp", "needs_you", "no"),))
        button = front.window.sidebar.button("upstreams")
        word = QFontMetrics(theme.font(weight=QFont.Weight.Medium)).horizontalAdvance("Upstreams")
        await front.shows(lambda: button.width() >= 40 + word + 22)

    with_front(body)


@pytest.mark.parametrize(("letters", "shown"), [(4, False), (6, True)])
def test_of_a_line_that_has_no_room_for_a_word_nothing_is_shown(qapp, letters, shown):
    line = ElidedLabel("· 4 MB left, and then some")
    nothing = ElidedLabel("")
    for label in (line, nothing):
        label.resize(QFontMetrics(line.font()).averageCharWidth() * letters, 30)
    assert (line.grab().toImage() != nothing.grab().toImage()) is shown


def test_where_not_both_fit_the_name_is_whole_and_the_registry_has_what_is_left_or_nothing(qapp):
    needed = 300

    def laid_out(width: int) -> tuple[int, int]:
        where = job_layout(
            QRect(0, 0, width, 80),
            (JobAction.RETRY, JobAction.CANCEL),
            has_bar=False,
            status_width=10,
            labelled_width=120,
            destination_width=needed,
            name_width=needed,
        )
        return where.name.width(), where.destination.width()

    name, registry = laid_out(2000)
    assert registry == needed
    around = 2000 - name - registry
    assert laid_out(around + needed + 290) == (needed, 290)
    assert laid_out(around + needed + 180) == (needed, 180)
    assert laid_out(around + needed + 20) == (needed + 20, 0)
