"""Figures, times and sentences as people read them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.desktop import words

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (7_040, "7 kB"),
        (999_600, "1 MB"),
        (1_240_000, "1.2 MB"),
        (12_000_000, "12 MB"),
        (340_400_000, "340 MB"),
        (1_400_000_000, "1.4 GB"),
        (14_200_000_000, "14.2 GB"),
        (20_000_000_000, "20 GB"),
        (3_100_000_000_000, "3.1 TB"),
    ],
)
def test_sizes_are_decimal_and_short(count, text):
    assert words.size(count) == text


def test_a_part_is_said_in_the_unit_of_the_whole():
    assert words.size_of(212_000_000, 340_000_000) == "212 of 340 MB"
    assert words.size_of(1_212_000_000, 14_340_000_000) == "1.2 of 14.3 GB"
    assert words.size_of(0, 340_000_000) == "0 of 340 MB"


@given(st.integers(min_value=0, max_value=10**18))
def test_a_size_has_a_figure_of_four_characters_at_most_and_a_unit(count):
    figure, unit = words.size(count).split()
    assert len(figure) <= 4 or count >= 10**18
    assert unit in ("B", "kB", "MB", "GB", "TB", "PB")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.2, "1 s left"),
        (7.2, "7 s left"),
        (59, "59 s left"),
        (61, "about 1 min left"),
        (170, "about 3 min left"),
        (7300, "about 2 h left"),
        (400_000, "about 5 days left"),
    ],
)
def test_the_time_left_is_exact_when_short_and_rough_when_long(seconds, text):
    assert words.time_left(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "now"), (0.4, "now"), (40, "in 40 s"), (180, "in 3 min"), (7200, "in 2 h")]
)
def test_what_comes_is_said_from_now(seconds, text):
    assert words.until(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (2.1, "2.1 s"), (42.4, "42 s"), (200, "3 min 20 s"), (120, "2 min"), (3900, "1 h 5 min")],
)
def test_durations(seconds, text):
    assert words.duration(seconds) == text


def test_moments_are_a_time_today_and_a_date_before():
    assert words.moment(NOW - timedelta(hours=1), NOW) == "14:30"
    assert words.moment(NOW - timedelta(days=1), NOW) == "23 Nov"
    assert words.moment(NOW.replace(year=2024), NOW) == "24 Nov 2024"
    assert words.moment_with_time(NOW - timedelta(days=1), NOW) == "23 Nov, 15:30"
    assert [words.day(NOW - timedelta(days=n), NOW) for n in (0, 1, 7)] == ["Today", "Yesterday", "Tuesday, 17 Nov"]


def test_times_are_the_persons():
    zone = NOW.astimezone().tzinfo
    here = NOW.astimezone(zone)
    assert words.clock(NOW, here) == here.strftime("%H:%M")


def test_names_are_listed_in_words():
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b"]) == "a and b"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(list("abcde")) == "a, b and 3 more"


@given(st.text())
def test_text_from_elsewhere_keeps_to_one_line_and_one_direction(text):
    shown = words.plain(text)
    assert "\n" not in shown
    assert not any(sign in shown for sign in "\u202e\u2066\u200b\x1b\x00")


def test_tooltips_and_menus_take_markup_for_text():
    assert words.tooltip("<b>bold</b>\n& more") == "<qt>&lt;b&gt;bold&lt;/b&gt;<br>&amp; more</qt>"
    assert words.tooltip("") == ""
    assert words.menu_text("this & that") == "this && that"
