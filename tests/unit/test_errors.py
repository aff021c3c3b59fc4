"""What a person reads of an error: whole sentences, also where others' words are among them."""

from __future__ import annotations

import pytest

from yarddesk.errors import YarddeskError


@pytest.mark.parametrize(
    ("title", "message", "hint", "read"),
    [
        ("It failed.", "", "", "It failed."),
        ("It failed.", "connection refused", "", "It failed. connection refused"),
        ("It failed.", "connection refused", "Try again.", "It failed. connection refused. Try again."),
        ("It failed.", "denied (UNAUTHORIZED)", "Sign in.", "It failed. denied (UNAUTHORIZED). Sign in."),
        ("It says “no.”", "", "Ask it.", "It says “no.” Ask it."),
        ("It failed", "", "Really?", "It failed. Really?"),
        ("", "", "", ""),
    ],
)
def test_what_was_said_ends_before_the_hint_begins(title: str, message: str, hint: str, read: str) -> None:
    assert str(YarddeskError(title, message, hint=hint)) == read
