"""Light and dark: what is written can be read, and the tokens are those of the page that gives them."""

from PySide6.QtGui import QColor, QFont

from yarddesk.desktop import theme
from yarddesk.desktop.style import style_sheet
from yarddesk.desktop.views.parts import CheckBox


def test_words_have_a_contrast_of_four_and_a_half_on_every_surface(tokens):
    for surface in (tokens.surface, tokens.window, tokens.sidebar):
        for word in (
            tokens.text,
            tokens.secondary,
            tokens.accent_text,
            tokens.good_text,
            tokens.waiting_text,
            tokens.needs_you_text,
        ):
            assert theme.contrast(word, surface) >= 4.5


def test_glyphs_have_a_contrast_of_three(tokens):
    for glyph in (tokens.accent, tokens.good, tokens.waiting, tokens.needs_you):
        assert theme.contrast(glyph, tokens.surface) >= 3
    assert theme.contrast(tokens.on_accent, tokens.accent) >= 4.5


def test_text_on_a_chosen_row_can_be_read(tokens):
    for word in (tokens.text, tokens.secondary, tokens.needs_you_text):
        assert theme.contrast(word, tokens.selected) >= 4
        assert theme.contrast(word, tokens.hover) >= 4


def test_the_style_sheet_has_no_colour_left_open(tokens):
    sheet = style_sheet(tokens)
    assert "{{" not in sheet
    assert tokens.accent.name() in sheet


def test_the_platforms_palette_tells_dark_from_light(tokens):
    assert tokens.dark == (tokens.surface.lightness() < 128)


def test_figures_have_one_width(qapp):
    assert theme.font().featureValue(QFont.Tag("tnum")) == 1


def test_an_empty_box_can_be_seen(tokens, qapp):
    box = CheckBox("")
    box.setStyleSheet(f"background: {tokens.surface.name()};")
    picture = box.grab().toImage()
    colours = {picture.pixel(x, picture.height() // 2) for x in range(picture.width())}
    assert max(theme.contrast(QColor.fromRgb(colour), tokens.surface) for colour in colours) >= 3
    box.setChecked(True)
    assert box.grab().toImage() != picture
