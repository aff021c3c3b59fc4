"""Ranges, challenges, links and error bodies as they stand in headers and answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.challenges import parse_challenges
from yarddesk.oci.error_codes import ErrorCode, ErrorInfo, parse_errors, render_errors
from yarddesk.oci.link import next_link, render_next
from yarddesk.oci.ranges import ByteRange, InvalidRange, UnsatisfiableRange, parse_content_range, parse_range


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-9", 100, ByteRange(0, 9)),
        ("bytes=90-", 100, ByteRange(90, 99)),
        ("bytes=-5", 100, ByteRange(95, 99)),
        ("bytes=-500", 100, ByteRange(0, 99)),
        ("bytes=5-500", 100, ByteRange(5, 99)),
        ("Bytes=0-0", 1, ByteRange(0, 0)),
        ("bytes=9-5", 100, None),
        ("bytes=0-1,4-5", 100, None),
        ("items=0-1", 100, None),
        ("bytes=a-b", 100, None),
        ("bytes=-", 100, None),
        ("bytes=" + "0" * 300, 100, None),
    ],
)
def test_ranges_of_reads(header, size, expected):
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-0", 0)])
def test_ranges_that_hold_no_byte_cannot_be_satisfied(header, size):
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, size)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_a_range_stays_within_the_content(first, last, size):
    try:
        part = parse_range(f"bytes={first}-{last}", size)
    except UnsatisfiableRange:
        assert first >= size
    else:
        content = bytes(range(size))
        expected = content[first : last + 1] if last >= first else content
        assert (content[part.start : part.end + 1] if part else content) == expected


@pytest.mark.parametrize(("header", "expected"), [("0-9", ByteRange(0, 9)), ("bytes 5-5/*", ByteRange(5, 5))])
def test_content_ranges_of_chunks(header, expected):
    assert parse_content_range(header) == expected


@pytest.mark.parametrize("header", ["", "9-0", "a-b", "-5", "5-", "0-" + "9" * 30, "bytes=0--1"])
def test_content_ranges_that_are_none_are_refused(header):
    with pytest.raises(InvalidRange):
        parse_content_range(header)


def test_challenges_with_several_schemes_and_quoted_commas():
    header = 'Basic realm="a, \\"b\\"", Bearer realm="https://auth.example/token",service="r.example",scope="repository:x:pull,push"'
    basic, bearer = parse_challenges(header)
    assert (basic.scheme, basic.parameters["realm"]) == ("basic", 'a, "b"')
    assert bearer.scheme == "bearer"
    assert bearer.parameters == {
        "realm": "https://auth.example/token",
        "service": "r.example",
        "scope": "repository:x:pull,push",
    }


@pytest.mark.parametrize("before", ["Negotiate, ", "Negotiate,", "Negotiate , ", 'Basic realm="x", NTLM,'])
def test_a_scheme_without_parameters_hides_none_that_follows(before):
    last = parse_challenges(before + 'Bearer realm="https://auth.example/token"')[-1]
    assert (last.scheme, last.parameters) == ("bearer", {"realm": "https://auth.example/token"})


@given(st.text(max_size=80))
def test_any_text_is_read_as_challenges_without_failing(text):
    for challenge in parse_challenges(text):
        assert challenge.scheme


def test_the_next_page_of_a_link():
    assert next_link(render_next("/v2/_catalog?last=a&n=2")) == "/v2/_catalog?last=a&n=2"
    assert next_link('</a>; rel="prev", </b>; rel=next') == "/b"
    assert next_link('</a>; rel="prev"') is None


def test_error_bodies_are_read_as_they_are_written():
    error = ErrorInfo(ErrorCode.BLOB_UNKNOWN, "not here", {"digest": "x"})
    assert parse_errors(render_errors(error)) == (error,)


@given(st.binary(max_size=60))
def test_any_answer_is_read_as_errors_without_failing(body):
    assert isinstance(parse_errors(body), tuple)
