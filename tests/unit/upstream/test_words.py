"""What an upstream says is shown without the secrets it quotes, however it writes them down."""

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.upstream.secret_forms import forms_of
from yarddesk.upstream.words import MAX_WORDS, clean, said

SECRET = 'c4n/ä+ry &x"'


@pytest.mark.parametrize(
    "quoted",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(SECRET).replace("/", "\\/"),
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_each_form_that_programs_write(quoted: str) -> None:
    words, _ = said(f"no access with {quoted} today".encode(), "text/plain", [SECRET])
    assert re.fullmatch(r'no access with "?\*\*\*"?=* today', words)


def test_of_two_secrets_the_longer_goes_first() -> None:
    assert clean("it was canary-and-more", ["canary", "canary-and-more"]) == "it was ***"


@given(st.text(st.characters(), max_size=20))
def test_any_text_may_be_a_secret_also_halves_of_pairs(secret: str) -> None:
    assert len(clean(f"it was {secret}", [secret])) <= MAX_WORDS
    assert all(forms_of([secret]))
