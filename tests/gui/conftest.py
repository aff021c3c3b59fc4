"""A window over a yard made by hand, on the app's own loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from tests.gui.front import Front
from tests.support.fake_yard import FakeYard, upstream
from yarddesk.desktop import theme
from yarddesk.desktop.app import DesktopApplication
from yarddesk.desktop.loop import run
from yarddesk.desktop.theme import Tokens

LIMIT_SECONDS = 30

LIGHT = {"window": "#efefef", "base": "#ffffff", "text": "#000000"}
DARK = {"window": "#2a2e32", "base": "#1b1e20", "text": "#fcfcfc"}
ODD = {"window": "#d8c8a0", "base": "#fff8e0", "text": "#332200"}


@pytest.fixture(scope="session")
def qapp_cls() -> type[QApplication]:
    return DesktopApplication


@pytest.fixture
def on_loop(qapp: QApplication) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs a coroutine function to its end on the loop that the app runs on."""

    def go(body: Callable[[], Awaitable[Any]]) -> Any:
        return run(asyncio.wait_for(_call(body), LIMIT_SECONDS), qapp)

    return go


async def _call(body: Callable[[], Awaitable[Any]]) -> Any:
    return await body()


@pytest.fixture
def yard(tmp_path) -> FakeYard:
    """With one upstream that takes pushes, and nothing in the queue."""
    return FakeYard(upstreams=[upstream()], folder=tmp_path)


@pytest.fixture
def with_front(on_loop, yard):
    """Runs `body(front)` with the window shown over `yard`, and takes it away afterwards.

    Keywords go to Front: `tray`, `minimized`.
    """

    def go(body: Callable[[Front], Awaitable[Any]], **how: Any) -> Any:
        async def whole() -> Any:
            async with Front(yard, **how) as front:
                return await body(front)

        return on_loop(whole)

    return functools.partial(go)


@pytest.fixture(params=[LIGHT, DARK, ODD], ids=["light", "dark", "odd"])
def tokens(request, qapp) -> Iterator[Tokens]:
    """The colours of a platform that is light, dark, or odd; in force meanwhile."""
    before = QApplication.palette()
    palette = QPalette(before)
    for role, name in (
        (QPalette.ColorRole.Window, "window"),
        (QPalette.ColorRole.Base, "base"),
        (QPalette.ColorRole.Text, "text"),
    ):
        palette.setColor(role, QColor(request.param[name]))
    QApplication.setPalette(palette)
    yield theme.tokens()
    QApplication.setPalette(before)
