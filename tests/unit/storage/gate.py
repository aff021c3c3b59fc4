"""A call of the system that takes as long as a test wants."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from tests.support.waiting import until_async


class Gate:
    """Calls of one function of os wait here until it's opened."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, wanted: Callable[..., bool] = lambda *_: True
    ) -> None:
        self.waiting = threading.Event()
        self._opened = threading.Event()
        call = getattr(os, name)

        def gated(*arguments: object, **options: object) -> object:
            if wanted(*arguments):
                self.waiting.set()
                assert self._opened.wait(20)
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, gated)

    async def reached(self) -> None:
        await until_async(self.waiting.is_set)

    def open(self) -> None:
        self._opened.set()
