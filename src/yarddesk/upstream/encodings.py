"""Bodies that came compressed: lists and tokens alone. What has a digest is asked for as it is."""

import zlib
from typing import Final

import brotli
import zstandard

from yarddesk.content.threads import in_thread
from yarddesk.upstream.http import MAX_WORDS_BYTES, Answer

ASKED: Final = {"Accept-Encoding": "zstd, br, gzip"}
"""For requests whose answer `decoded` gets to see."""

_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What RFC 8878 wants every reader to take."""


class Undecodable(ValueError):
    """The body is damaged, in an encoding that is not known here, or longer than it may be."""


async def decoded(answer: Answer, content: bytes, limit: int) -> bytes:
    """A whole body without its encoding. However it was made, little more than `limit` bytes come of it. Raises Undecodable."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return content
    return await in_thread(decode, content, encoding, limit)


async def read_short(answer: Answer) -> bytes:
    """What an answer says, up to MAX_WORDS_BYTES, decoded; nothing where that can't be done."""
    try:
        return await decoded(answer, await answer.read(), MAX_WORDS_BYTES)
    except Undecodable:
        return b""


def decode(content: bytes, encoding: str, limit: int) -> bytes:
    """As `decoded`, for one encoding."""
    try:
        match encoding:
            case "gzip" | "x-gzip":
                plain = _gunzipped(content, limit)
            case "br":
                plain = _unbrotlied(content, limit)
            case "zstd":
                reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(content)
                plain = reader.read(limit + 1)
            case _:
                raise Undecodable(f"another encoding ({encoding[:40]})")
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        raise Undecodable(f"a damaged body ({encoding})") from error
    if len(plain) > limit:
        raise Undecodable(f"more than {limit:,} bytes")
    return plain


def _gunzipped(content: bytes, limit: int) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    plain = unzip.decompress(content, limit + 1)
    if not unzip.eof and len(plain) <= limit:
        raise zlib.error("it ends too early")
    return plain


def _unbrotlied(content: bytes, limit: int) -> bytes:
    decompressor = brotli.Decompressor()
    plain = decompressor.process(content, output_buffer_limit=limit + 1)
    while len(plain) <= limit and not decompressor.is_finished():
        more = decompressor.process(b"", output_buffer_limit=limit + 1 - len(plain))
        if not more:
            raise brotli.error("it ends too early")
        plain += more
    return bytes(plain)
