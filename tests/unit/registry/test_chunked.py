"""The chunked coding, compared with httptools on whatever hypothesis makes, however it's cut."""

from __future__ import annotations

from collections.abc import Iterator

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.registry.chunked import ChunkedDecoder, InvalidChunk

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Theirs:
    """httptools, asked whether `coded` is a chunked body and what its content is."""

    def __init__(self) -> None:
        self.content = b""
        self.ended = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(HEAD)

    def on_body(self, body: bytes) -> None:
        self.content += body

    def on_message_complete(self) -> None:
        self.ended = True

    def check_extension(self, extension: bytes) -> None:
        try:
            self.parser.feed_data(b"1" + extension + b"\r\n-\r\n")
        except httptools.HttpParserError as error:
            raise InvalidChunk from error


def theirs(coded: bytes) -> tuple[bytes, bool]:
    """The content, and whether the body is whole and right; without trailers."""
    peer = Theirs()
    try:
        peer.parser.feed_data(coded)
    except httptools.HttpParserError:
        return peer.content, False
    return peer.content, peer.ended


def ours(pieces: Iterator[bytes]) -> tuple[bytes, bool, bytes]:
    """The content, whether the last chunk came, and what follows its line."""
    decoder = ChunkedDecoder(Theirs().check_extension)
    content = b""
    for piece in pieces:
        received = memoryview(bytearray(piece))
        while received:
            if decoder.ended:
                return content, True, bytes(received) + b"".join(pieces)
            try:
                parts, used = decoder.feed(received)
            except InvalidChunk:
                return content, False, b""
            content += b"".join(parts)
            received = received[used:]
    return content, decoder.ended, b""


def cut(coded: bytes, places: list[int]) -> Iterator[bytes]:
    ends = sorted({place % (len(coded) + 1) for place in places} | {len(coded)})
    return (coded[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end)


places = st.lists(st.integers(0, 10_000), max_size=12)
extensions = st.sampled_from([b"", b"", b"", b";a", b";a=b", b';a="b c"', b";a=b;c", b";", b"; a", b";a=\x01", b";a\r"])


@st.composite
def coded_bodies(draw: st.DrawFn) -> bytes:
    body = b""
    for content in draw(st.lists(st.binary(min_size=1, max_size=300), max_size=6)):
        size = draw(st.sampled_from([b"%x", b"%X", b"%04x", b"%020x"])) % len(content)
        body += size + draw(extensions) + b"\r\n" + content + b"\r\n"
    return body + b"0" + draw(extensions) + b"\r\n\r\n"


@given(coded_bodies(), places)
def test_any_body_in_any_pieces_is_read_as_httptools_reads_it(coded: bytes, places: list[int]) -> None:
    content, ended, rest = ours(cut(coded, places))
    assert (content, ended and rest == b"\r\n") == theirs(coded)


@given(coded_bodies(), st.integers(0, 10_000), st.sampled_from(b"\r\n0fF;g-+_ x\x00"), places)
def test_one_wrong_octet_is_judged_as_httptools_judges_it(
    coded: bytes, place: int, octet: int, places: list[int]
) -> None:
    wrong = bytearray(coded)
    wrong[place % len(wrong)] = octet
    content, ended, rest = ours(cut(bytes(wrong), places))
    their_content, whole = theirs(bytes(wrong))
    if whole:
        assert (content, ended) == (their_content, True)
    else:
        # What stands after the last chunk's line is httptools' to judge.
        assert not ended or theirs(bytes(wrong)[: len(wrong) - len(rest)] + b"\r\n") == (content, True)
    assert their_content.startswith(content) or content.startswith(their_content)


@given(st.binary(max_size=60), places)
def test_noise_is_refused_like_httptools_does(noise: bytes, places: list[int]) -> None:
    content, ended, rest = ours(cut(noise, places))
    if ended:
        assert theirs(noise[: len(noise) - len(rest)] + b"\r\n") == (content, True)
    else:
        assert not theirs(noise)[1]


@pytest.mark.parametrize(
    "coded",
    [
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello\n0\r\n",
        b"5\r\nhelloX\r\n",
        b"\r\n5\r\nhello\r\n",
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;" + b"a" * 20_000,
        b"5;" + b"a" * 20_000 + b"\r\n",
        b"0" * 20_000 + b"5\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_no_chunk_is_refused(coded: bytes, size: int) -> None:
    decoder = ChunkedDecoder(Theirs().check_extension)
    with pytest.raises(InvalidChunk):
        feed(decoder, [coded[start : start + size] for start in range(0, len(coded), size)])


def test_a_line_that_does_not_end_is_not_kept_for_long() -> None:
    decoder = ChunkedDecoder(Theirs().check_extension)
    with pytest.raises(InvalidChunk):
        feed(decoder, [b"0" * 1000] * 20)


def feed(decoder: ChunkedDecoder, pieces: list[bytes]) -> None:
    for piece in pieces:
        received = memoryview(piece)
        while received:
            received = received[decoder.feed(received)[1] :]
