"""Waiting for a condition with a deadline, in place of sleeping for a time that is hoped to be enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

STEP_SECONDS = 0.02


class DeadlineMissed(AssertionError):
    """The condition did not come true in time."""


def until(condition: Callable[[], T], deadline_seconds: float = 10.0, what: str = "") -> T:
    """Ask until the condition gives something true, and give that. Raises DeadlineMissed, saying what was awaited."""
    end = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise DeadlineMissed(_missed(condition, deadline_seconds, what, answer))
        time.sleep(STEP_SECONDS)


@overload
async def until_async(condition: Callable[[], Awaitable[T]], deadline_seconds: float = 10.0, what: str = "") -> T: ...


@overload
async def until_async(condition: Callable[[], T], deadline_seconds: float = 10.0, what: str = "") -> T: ...


async def until_async(condition: Callable[[], object], deadline_seconds: float = 10.0, what: str = "") -> object:
    """As `until`, leaving the loop free meanwhile; the condition may be a coroutine function."""
    end = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        given = await answer if isinstance(answer, Awaitable) else answer
        if given:
            return given
        if time.monotonic() >= end:
            raise DeadlineMissed(_missed(condition, deadline_seconds, what, given))
        await asyncio.sleep(STEP_SECONDS)


def _missed(condition: object, deadline_seconds: float, what: str, last: object) -> str:
    awaited = what or getattr(condition, "__qualname__", repr(condition))
    return f"not within {deadline_seconds:g} s: {awaited} (last answer: {last!r})"
