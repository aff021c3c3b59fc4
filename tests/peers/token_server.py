"""A token server: it signs the tokens that docker-registry asks for, as the distribution token specification says."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.peers.registry import TokenAuth
from tests.support.ports import LOOPBACK, hold_port


@dataclass(frozen=True)
class TokenRequest:
    """Who asked for what. account: empty for an anonymous request; granted: whether a token was given; grant: OAuth 2's
    grant_type, empty for a GET."""

    method: str
    account: str
    service: str
    scopes: tuple[str, ...]
    granted: bool
    grant: str = ""


@dataclass
class TokenServer:
    """Tokens for docker-registry, on a loopback port of its own.

    users: name → password. refresh_tokens: identity token → name. anonymous_pull: whether someone without a password gets
    `pull`.
    lifetime_seconds: how long a token holds; may be changed while it runs.
    """

    folder: Path
    users: Mapping[str, str] = field(default_factory=dict)
    refresh_tokens: Mapping[str, str] = field(default_factory=dict)
    anonymous_pull: bool = False
    lifetime_seconds: int = 300
    service: str = "test registry"
    issuer: str = "test issuer"
    requests: list[TokenRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _self_signed(self._key)
        self._bundle = self.folder / "root.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        assert self._server is not None, "the token server was not started"
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def realm(self) -> str:
        return f"http://{self.host}/token"

    @property
    def auth(self) -> TokenAuth:
        """What a registry that trusts this server is started with."""
        return TokenAuth(self.realm, self.service, self.issuer, self._bundle)

    def start(self) -> None:
        peer = self

        class Request(_Request):
            server_of_tokens = peer

        self._server = ThreadingHTTPServer((LOOPBACK, hold_port(self)), Request)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def answer(self, asked: TokenRequest, password: str) -> dict[str, Any] | None:
        """The token's document, or None where the password is wrong, or missing where one is needed."""
        account, scopes = asked.account, asked.scopes
        known = bool(account) and self.users.get(account) == password
        if asked.grant == "refresh_token":
            account = self.refresh_tokens.get(password, "")
            known = bool(account)
        granted = known or (not password and self.anonymous_pull)
        self.requests.append(dataclasses.replace(asked, account=account, granted=granted))
        if not granted:
            return None
        allowed = None if known else {"pull"}
        token = self._sign(account, [access for scope in scopes for access in _access(scope, allowed)])
        issued = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"token": token, "access_token": token, "expires_in": self.lifetime_seconds, "issued_at": issued}

    def _sign(self, account: str, access: list[dict[str, Any]]) -> str:
        certificate = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": account,
            "aud": self.service,
            "exp": now + self.lifetime_seconds,
            "nbf": now - 5,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": access,
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        signed = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_part(signature)}"


class _Request(BaseHTTPRequestHandler):
    """GET with basic authentication, and POST with OAuth 2's password and refresh token grants."""

    server_of_tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fields = parse_qs(urlsplit(self.path).query)
        account, _, password = _basic(self.headers.get("Authorization", "")).partition(":")
        self._answer(TokenRequest("GET", account, *_asked(fields)), password)

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
        grant = _first(fields, "grant_type")
        password = _first(fields, "refresh_token" if grant == "refresh_token" else "password")
        asked = TokenRequest("POST", _first(fields, "username"), *_asked(fields), grant=grant)
        self._answer(asked, password)

    def _answer(self, asked: TokenRequest, password: str) -> None:
        token = self.server_of_tokens.answer(asked, password)
        status, document = (200, token) if token else (401, {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Its requests are in TokenServer.requests; nothing goes to the terminal."""


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token server of a test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    return builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())


def _asked(fields: Mapping[str, list[str]]) -> tuple[str, tuple[str, ...], bool]:
    """Service, scopes, and that nothing is granted yet."""
    return (
        _first(fields, "service"),
        tuple(scope for value in fields.get("scope", []) for scope in value.split()),
        False,
    )


def _access(scope: str, allowed: set[str] | None) -> list[dict[str, Any]]:
    """`repository:NAME:pull,push` as a claim; allowed: the actions that may be granted, None for all."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    granted = [action for action in actions.split(",") if allowed is None or action in allowed]
    return [{"type": kind, "name": name, "actions": granted}] if granted else []


def _basic(header: str) -> str:
    scheme, _, encoded = header.partition(" ")
    return base64.b64decode(encoded).decode() if scheme.lower() == "basic" else ""


def _first(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
