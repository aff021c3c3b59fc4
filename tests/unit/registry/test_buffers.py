"""Buffers that are lent again once nobody looks at them, and never before."""

from __future__ import annotations

from yarddesk.registry.buffers import BUFFER_BYTES, Buffers


def test_a_buffer_is_lent_again_only_when_its_last_view_is_gone() -> None:
    buffers = Buffers()
    first = buffers.lend()
    assert first is not None
    first[:5] = b"hello"
    part = first[1:3]
    del first
    second = buffers.lend()
    assert second is not None
    second[:] = bytes(BUFFER_BYTES)
    assert bytes(part) == b"el"
    del part
    third = buffers.lend()
    assert third is not None
    assert bytes(third[:5]) == b"hello"  # the same memory


def test_there_are_so_many_and_no_more() -> None:
    buffers = Buffers()
    lent = []
    while (buffer := buffers.lend()) is not None:
        assert len(buffer) == BUFFER_BYTES
        lent.append(buffer)
        assert len(lent) <= 64
    lent.pop()
    del buffer
    again = buffers.lend()
    assert again is not None
    assert buffers.lend() is None


def test_what_is_in_use_survives_that_the_rest_is_given_back() -> None:
    buffers = Buffers()
    kept, other = buffers.lend(), buffers.lend()
    assert kept is not None
    kept[:4] = b"kept"
    del other
    buffers.forget()
    views = [buffers.lend() for _ in range(3)]
    assert all(view is not None and bytes(view[:4]) == bytes(4) for view in views)
    assert bytes(kept[:4]) == b"kept"
