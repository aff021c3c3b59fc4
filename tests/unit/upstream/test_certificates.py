"""Who issued a certificate is read from its bytes, whatever these are; and asked of a server that isn't trusted."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificates import private_authority
from tests.support.ports import held_port
from yarddesk.upstream.certificates import issuer_at, issuer_of

NAMED, ORGANIZED, COUNTRY = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*issuer: x509.NameAttribute[str]) -> bytes:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NAMED, "the subject")]))
        .issuer_name(x509.Name(issuer))
        .public_key(KEY.public_key())
        .serial_number(2**150 + 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def attribute(oid: x509.ObjectIdentifier, text: str, kind: _ASN1Type | None = None) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, text, kind)


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        ([attribute(NAMED, "Corp Root CA")], "“Corp Root CA”"),
        (
            [attribute(COUNTRY, "AT"), attribute(ORGANIZED, "Bäckerei & Söhne"), attribute(NAMED, "Root")],
            "“Root” (Bäckerei & Söhne)",
        ),
        ([attribute(ORGANIZED, "Corp")], "Corp"),
        ([attribute(ORGANIZED, "Corp"), attribute(NAMED, "Corp")], "“Corp”"),
        ([attribute(NAMED, "Ünïcode", _ASN1Type.BMPString)], "“Ünïcode”"),
        ([attribute(NAMED, "two\nlines\x1b[31m")], "“two lines [31m”"),
        ([attribute(COUNTRY, "AT")], ""),
        ([attribute(NAMED, "x" * 64), attribute(ORGANIZED, "y" * 64)], f"“{'x' * 64}” ({'y' * 64})"),
    ],
)
def test_an_issuer_is_named_as_people_know_it(issuer: list[x509.NameAttribute[str]], words: str) -> None:
    assert issuer_of(certificate(*issuer)) == words


WHOLE = certificate(attribute(ORGANIZED, "Corp"), attribute(NAMED, "Corp Root CA"))


@given(st.binary(max_size=200))
def test_what_is_no_certificate_names_nobody(content: bytes) -> None:
    assert isinstance(issuer_of(content), str)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_a_damaged_certificate_is_no_trouble(at: int, value: int, length: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] = value
    assert isinstance(issuer_of(bytes(damaged)), str)
    assert issuer_of(WHOLE[:length]) == ("“Corp Root CA” (Corp)" if length == len(WHOLE) else "")


async def test_a_server_that_is_not_trusted_is_asked_and_told_nothing(tmp_path: Path) -> None:
    own, key, _ = private_authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.read())
        except OSError:
            heard.append(b"")
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await issuer_at("127.0.0.1", port) == "“a private authority”"
    assert heard in ([], [b""])


async def test_who_does_not_answer_with_a_certificate_is_nobody(tmp_path: Path) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with held_port() as port:
        async with await asyncio.start_server(hang_up, "127.0.0.1", port):
            assert await issuer_at("127.0.0.1", port) == ""
        assert await issuer_at("127.0.0.1", port) == ""
