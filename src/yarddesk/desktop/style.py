"""The style sheet of our own widgets: flat, quiet, with a ring where the focus is. Names are object names and classes."""

from PySide6.QtGui import QColor

from yarddesk.desktop.theme import RADIUS, Tokens, mix

_SHEET = """
QMainWindow, #content, #page, QScrollArea#page, #cards {{ background: {surface}; }}
#header {{ background: {sidebar}; border-bottom: 1px solid {line}; }}
#strip {{ background: {surface}; border-top: 1px solid {line}; }}
#sidebar {{ background: {sidebar}; border-right: 1px solid {line}; }}
#rows {{ background: {surface}; border: none; outline: none; }}
QLabel {{ color: {text}; background: transparent; }}
QLabel[role="secondary"] {{ color: {secondary}; }}
QLabel[role="good"] {{ color: {good_text}; }}
QLabel[role="waiting"] {{ color: {waiting_text}; }}
QLabel[role="needs_you"] {{ color: {needs_you_text}; }}

QFrame#card {{ background: {card}; border: 1px solid {line}; border-radius: {card_radius}px; }}
QFrame#banner {{ background: {needs_you_wash}; border: none; border-bottom: 1px solid {line}; }}
QFrame#banner[tone="quiet"] {{ background: {accent_wash}; }}
QFrame#command {{ background: {sunken}; border: 1px solid {line}; border-radius: {radius}px; }}
QLabel#toast {{ background: {toast}; color: {toast_text}; border-radius: {radius}px; padding: 8px 16px; }}
QLabel#chip {{ background: {sunken}; border-radius: 4px; padding: 1px 6px; color: {secondary}; }}

QPushButton, QToolButton[face="button"] {{
    color: {text}; background: {button}; border: 1px solid {edge}; border-radius: {radius}px;
    padding: 0 12px; min-height: 26px;
}}
QPushButton:hover, QToolButton[face="button"]:hover {{ background: {button_hover}; }}
QPushButton:pressed, QToolButton[face="button"]:pressed {{ background: {button_pressed}; }}
QPushButton:disabled, QToolButton[face="button"]:disabled {{ color: {faded}; border-color: {line}; }}
QPushButton[face="main"] {{ color: {on_accent}; background: {accent}; border-color: {accent}; }}
QPushButton[face="main"]:hover {{ background: {accent_hover}; border-color: {accent_hover}; }}
QPushButton[face="main"]:pressed {{ background: {accent_pressed}; }}
QPushButton[face="main"]:disabled {{ color: {faded}; background: {button_pressed}; border-color: {line}; }}
QPushButton[face="danger"] {{ color: {needs_you_text}; }}
QPushButton[face="chip"] {{ border-radius: 13px; min-height: 24px; padding: 0 12px; }}
QPushButton[face="chip"]:checked {{ background: {accent_wash}; border-color: {accent}; color: {accent_text}; }}
QPushButton:focus, QToolButton[face="button"]:focus {{ border: 2px solid {accent}; padding: 0 11px; min-height: 24px; }}
QPushButton[face="main"]:focus {{ border-color: {focus_on_accent}; }}
QPushButton[face="chip"]:focus {{ min-height: 22px; }}
QPushButton[face="link"] {{ border: 1px solid transparent; background: transparent; color: {accent_text}; padding: 0 4px; }}
QPushButton[face="link"]:hover {{ text-decoration: underline; }}
QPushButton[face="link"]:focus {{ border: 2px solid {accent}; padding: 0 3px; }}

QToolButton {{
    border: 1px solid transparent; border-radius: {radius}px; background: transparent; color: {text}; padding: 5px;
}}
QToolButton:hover {{ background: {button_hover}; }}
QToolButton:pressed, QToolButton:open {{ background: {button_pressed}; }}
QToolButton:focus {{ border: 2px solid {accent}; padding: 4px; }}
QToolButton:disabled {{ color: {faded}; }}
QToolButton::menu-indicator {{ image: none; width: 0; }}
QToolButton[face="button"][menu="true"] {{ padding-right: 26px; }}
QToolButton::menu-button {{ border: none; border-left: 1px solid {edge}; width: 22px; }}

QLineEdit {{
    color: {text}; background: {field}; border: 1px solid {edge}; border-radius: {radius}px;
    padding: 0 8px; min-height: 26px; selection-background-color: {accent}; selection-color: {on_accent};
}}
QLineEdit:focus {{ border: 2px solid {accent}; padding: 0 7px; min-height: 24px; }}
QLineEdit[wrong="true"] {{ border-color: {needs_you}; }}
QPlainTextEdit#diff, QPlainTextEdit#details {{
    color: {text}; background: {sunken}; border: 1px solid {line}; border-radius: {radius}px; padding: 4px;
}}
QPlainTextEdit:focus {{ border-color: {accent}; }}
QCheckBox {{ spacing: 8px; color: {text}; }}
QCheckBox::indicator {{ width: 16px; height: 16px; }}

QScrollBar:vertical {{ background: transparent; width: 12px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 12px; margin: 0; }}
QScrollBar::handle {{ background: {scroll}; border-radius: 3px; margin: 3px; min-height: 32px; min-width: 32px; }}
QScrollBar::handle:hover {{ background: {scroll_hover}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QAbstractScrollArea::corner {{ background: transparent; border: none; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
"""


def style_sheet(tokens: Tokens) -> str:
    """For the main window and our dialogs."""
    surface, text = tokens.surface, tokens.text
    button = mix(surface, text, 0.06 if tokens.dark else 0.0)
    shown = {name: getattr(tokens, name) for name in tokens.__dataclass_fields__ if name != "dark"}
    colours = {
        **shown,
        "needs_you_wash": mix(surface, tokens.needs_you, 0.12),
        "accent_wash": mix(surface, tokens.accent, 0.12),
        "sunken": mix(surface, text, 0.06 if tokens.dark else 0.04),
        "field": mix(surface, text, 0.03) if tokens.dark else surface,
        "button": button,
        "button_hover": mix(button, text, 0.07),
        "button_pressed": mix(button, text, 0.13),
        "edge": mix(surface, text, 0.22),
        "faded": mix(text, surface, 0.6),
        "accent_hover": mix(tokens.accent, text, 0.12),
        "accent_pressed": mix(tokens.accent, text, 0.22),
        "focus_on_accent": text,
        "scroll": mix(surface, text, 0.24),
        "scroll_hover": mix(surface, text, 0.4),
        "toast": mix(text, surface, 0.1),
        "toast_text": surface,
    }
    names = {name: _hex(colour) for name, colour in colours.items()}
    return _SHEET.format(radius=RADIUS, card_radius=RADIUS + 2, **names)


def _hex(colour: QColor) -> str:
    return colour.name(QColor.NameFormat.HexRgb)
