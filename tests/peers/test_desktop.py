from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.desktop import Desktop, dark_theme
from tests.support.programs import Program, clean_environment
from tests.support.waiting import until

# A window and a tray icon; a click on the icon, and keys, change the window's title.
APPLICATION = """
import sys
from PySide6.QtGui import QColor, QIcon, QPixmap
from PySide6.QtWidgets import QApplication, QLineEdit, QSystemTrayIcon
app = QApplication(sys.argv)
pixmap = QPixmap(22, 22)
pixmap.fill(QColor("red"))
window = QLineEdit()
window.setWindowTitle("waiting")
window.resize(300, 200)
window.textChanged.connect(window.setWindowTitle)
icon = QSystemTrayIcon(QIcon(pixmap))
icon.activated.connect(lambda reason: window.setWindowTitle("the icon was clicked"))
icon.show()
window.show()
sys.exit(app.exec())
"""


@pytest.fixture
def application(desktop: Desktop, tmp_path: Path) -> Iterator[Program]:
    environment = clean_environment(tmp_path / "home", desktop.environment)
    program = Program([sys.executable, "-c", APPLICATION], environment=environment, log=tmp_path / "application.log")
    program.start()
    yield program
    program.kill()


def test_a_window_shows_takes_keys_and_closes(desktop: Desktop, application: Program, tmp_path: Path) -> None:
    window = desktop.wait_for_window("--name", "^waiting$")
    assert (window.width, window.height) == (300, 200)
    desktop.activate(window.id)
    until(lambda: desktop.active_window() == window.id)
    desktop.click(*window.centre)
    desktop.type("typed")
    desktop.wait_for_window("--name", "^typed$")
    picture = desktop.screenshot(tmp_path / "screen.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == desktop.size
    desktop.close(window.id)
    until(lambda: not desktop.windows("--name", "^typed$"))


def test_an_icon_appears_in_the_tray_and_takes_a_click(desktop: Desktop, application: Program) -> None:
    desktop.wait_for_window("--name", "^waiting$")
    (icon,) = until(desktop.tray_icons)
    desktop.click(*icon.centre)
    desktop.wait_for_window("--name", "^the icon was clicked$")


def test_a_desktop_may_have_no_tray(tmp_path: Path) -> None:
    screen = Desktop(tmp_path / "bare", tray=False)
    screen.start()
    assert screen.tray_icons() == []
    screen.stop()


def test_a_desktop_may_be_dark(desktop: Desktop, tmp_path: Path) -> None:
    theme = dark_theme(tmp_path / "home" / ".config")
    environment = clean_environment(tmp_path / "home", desktop.environment | theme)
    program = Program([sys.executable, "-c", APPLICATION], environment=environment, log=tmp_path / "application.log")
    program.start()
    try:
        window = desktop.wait_for_window("--name", "^waiting$")
        inside = (window.x + 200, window.y + 10)
        until(lambda: desktop.picture().pixel(*inside) == (27, 30, 32), what="the window is drawn in KDE's dark colour")
    finally:
        program.kill()
