"""`yarddesk serve` is sent what no client should send, for a minute: it never fails, forgets itself, or reaches beyond its folder."""

import datetime
import hashlib
import random
import re
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from tests.support.data_folder import strangers
from tests.support.images import OCI_INDEX, Content, build_image, manifest_of
from tests.support.odd_requests import BLOB, DIGEST, METHODS, OddRequest
from tests.support.raw_http import RawAnswer, ask, exchange_all, request
from tests.support.waiting import until

SECONDS = 60
EXAMPLES_A_ROUND = 40
CANARY = "what-lies-in-the-vault-is-for-nobody"

# Pushes below `up` are queued for a registry that is away; nothing is pulled, so that no 5xx can come from there.
CONFIG = """\
upstreams:
  - {name: away, prefix: up, registry: "127.0.0.1:1", push: true, pull: false, tls: {plain_http: true}}
"""

# hypothesis likes its bytes small and alike, which is good for cutting a failure down, and bad for coming far.
EVENLY = st.integers(0, 2**64 - 1).map(random.Random).map(lambda made: [made.randbytes(200) for _ in range(12)])

STATUSES = re.compile(rb"HTTP/1\.1 (\d{3}) ")
MAY_BE_ABOVE_499 = {501}
"""A transfer coding that we don't have."""

CORPUS = [
    b"/v2/..%2f..%2f..%2foutside.txt", b"/v2/../../outside.txt", b"/../outside.txt", b"/%2e%2e/outside.txt",
    b"/v2/fuzz/app/manifests/..%2f..%2f..%2f..%2foutside.txt", b"/v2/fuzz/app/manifests/../../../../outside.txt",
    b"/v2/fuzz/app/manifests/..%5c..%5c..%5c..%5coutside.txt", b"/v2/fuzz/app/manifests/..\\..\\..\\outside.txt",
    b"/v2/fuzz/app/manifests/%252e%252e%252foutside.txt", b"/v2/fuzz/app/manifests/%c0%ae%c0%ae%c0%afoutside.txt",
    b"/v2/fuzz/app/manifests/\xef\xbc\x8e\xef\xbc\x8e\xef\xbc\x8foutside.txt", b"/v2/fuzz/app/manifests/v1%00.txt",
    b"/v2/fuzz/app/manifests/v1\0", b"/v2/fuzz/app/manifests/..;/..;/outside.txt", b"/v2/fuzz/../secret/manifests/v1",
    b"/v2/fuzz/app/../../secret/vault/manifests/v1", b"/v2/fuzz/app/manifests/../../../secret/vault/manifests/v1",
    b"/v2/fuzz%2f..%2fsecret/manifests/v1", b"/v2/fuzz/./app/manifests/v1", b"/v2/fuzz//app/manifests/v1", b"//v2/fuzz/app/manifests/v1",
    b"/v2/FUZZ/app/manifests/v1", b"/v2/fuzz/app/_tags/v1", b"/v2/fuzz/app/manifests/_tags/v1", b"/v2/_tags/manifests/v1",
    b"/v2/fuzz/app/blobs/sha256:..%2f..%2f..%2foutside.txt", b"/v2/fuzz/app/blobs/sha256:../../../outside.txt",
    b"/v2/fuzz/app/blobs/..", b"/v2/fuzz/app/blobs/sha256", b"/v2/fuzz/app/blobs/uploads/../../outside.txt",
    b"/v2/fuzz/app/blobs/uploads/%2e%2e%2f%2e%2e%2foutside.txt", b"/v2/fuzz/app/blobs/uploads/x.repository",
    b"/v2/fuzz/app/blobs/uploads/?digest=sha256:../../outside.txt", b"/v2/fuzz/app/blobs/uploads/?mount=../..&from=../..",
    b"/v2/fuzz/app/referrers/..%2f..", b"/v2/fuzz/app/referrers/sha256:../..", b"/v2/con/manifests/nul", b"/v2/aux/tags/list",
    b"/v2/fuzz/app/manifests/con", b"/v2/fuzz/app/manifests/v1::$DATA", b"/v2/fuzz/app:8/manifests/v1", b"/v2/c:/manifests/v1",
    b"/v2/" + b"x" * 300 + b"/manifests/v1", b"/v2/fuzz/app/manifests/" + b"x" * 300, b"/v2/" + b"a/" * 2000 + b"manifests/v1",
    b"/v2/fuzz/app/tags/list?n=-1", b"/v2/fuzz/app/tags/list?n=99999999999999999999", b"/v2/_catalog?n=" + b"9" * 5000,
    b"/v2/_catalog?last=%00", b"/v2/_catalog?last=" + b"%ff" * 500, b"/v2/fuzz/app/manifests/v1?ns=../..", b"/v2/?ns=%0d%0aX:y",
    b"/v2/x/manifests/v1?ns=up/../secret", b"/up/v2/../../secret/vault/manifests/v1", b"/up/v2/%2e%2e/manifests/v1",
    b"/api/v1/../../control.token", b"/api/v1/%2e%2e%2fcontrol.token", b"/api/v1/\xff", b"/metrics/../control.token",
    b"/control.token", b"/v2/control.token", b"/v2/../control.token", b"/?x=" + b"y" * 7000, b"*", b"http://evil.example/v2/",
    b"/v2/fuzz/app/manifests/v1#x", b"/v2/fuzz/app/manifests/v1?#", b"/v2?", b"?", b"", b" ", b"/\xff\xfe", b"/v2/\r\nX: y",
]  # fmt: skip


class Fuzzed:
    """A yarddesk, what must not become known of it, and what must stay as it is around it."""

    def __init__(self, serve, folder: Path) -> None:
        self.serve = serve
        self.folder = folder
        secret = build_image("vault")
        self.secret = manifest_of(secret.config, secret.layers, annotations={"org.example.secret": CANARY})
        for blob in secret.blobs:
            serve.push_blob("secret/vault", blob)
        serve.push_blob("fuzz/app", Content("a/b", BLOB))
        self.put("secret/vault", "only-in-the-vault", self.secret)
        self.put("fuzz/app", "v1", Content(OCI_INDEX, b'{"schemaVersion":2,"manifests":[]}'))
        self.hidden = self.begin("secret/vault")
        self.uploads: tuple[str, ...] = (self.hidden,)
        for name in ("outside.txt", "secret/outside.txt", f"{serve.folder.name}/outside.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(CANARY)
        token = (serve.data_dir / "control.token").read_bytes().strip()
        self.never_told = (CANARY.encode(), b"only-in-the-vault", token)
        self.around = self.surroundings()

    def put(self, repository: str, tag: str, manifest: Content) -> None:
        headers = {"Content-Type": manifest.media_type}
        assert self.serve.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest.content, headers)[0] == 201

    def begin(self, repository: str) -> str:
        location = self.serve.request("POST", f"/v2/{repository}/blobs/uploads/", b"")[1]["Location"]
        assert self.serve.request("PATCH", location, b"begun")[0] == 202
        return str(location.rsplit("/", 1)[1])

    def surroundings(self) -> dict[str, object]:
        """Everything below the folder but the data folder and the log, with contents and times of change."""
        inside = (self.serve.data_dir, self.serve.folder / "yarddesk.log")
        found: dict[str, object] = {}
        for path in sorted(self.folder.rglob("*")):
            if not any(path == each or each in path.parents for each in inside):
                told = path.lstat()
                content = path.read_bytes() if path.is_file() else b""
                # A folder's time of change is no news where the data folder itself lies in it.
                found[str(path)] = (told.st_mode, 0 if path.is_dir() else told.st_mtime_ns, content)
        return found

    def try_out(self, *each: bytes) -> None:
        """Send them side by side, and look at what comes back."""
        for sent, received in zip(each, exchange_all(self.serve.port, each, seconds=0.2), strict=True):
            for status in map(int, STATUSES.findall(received)):
                assert status < 500 or status in MAY_BE_ABOVE_499, f"{sent!r}: {received[:400]!r}"
            for secret in self.never_told:
                assert secret not in received, sent
            answer = RawAnswer.parse(received)
            if answer is not None and answer.status == 201:
                self.look_at(answer.headers["location"].encode("latin-1"))

    def look_at(self, target: bytes) -> None:
        """HEAD tells of what was taken what GET does; it may be gone again."""
        told = [ask(self.serve.port, target, method=method) for method in (b"GET", b"HEAD")]
        headers = [{key: value for key, value in each.headers.items() if key != "date"} for each in told]
        assert {each.status for each in told} <= {200, 404}
        assert told[0].status != told[1].status or headers[0] == headers[1]

    def look_around(self) -> None:
        """Nothing went wrong in it, nothing changed around it, nothing strange is in it, and it answers."""
        log = self.serve.output()
        assert not re.findall(r"Traceback|\bERROR\b|\bCRITICAL\b|: 5\d\d: ", log), log[-4000:]
        assert ask(self.serve.port, b"/v2/").status == 200
        assert ask(self.serve.port, b"/healthz").status == 200
        assert self.surroundings() == self.around
        until(lambda: not strangers(self.serve.data_dir), 5, f"only files of ours: {strangers(self.serve.data_dir)}")
        manifest = self.serve.manifest("secret/vault", "only-in-the-vault")
        assert manifest == self.secret
        upload = f"/v2/secret/vault/blobs/uploads/{self.hidden}"
        assert self.serve.request("GET", upload)[1]["Range"] == "0-4"


@pytest.mark.timeout(300)
def test_whatever_is_sent_is_answered_and_leaves_everything_else_as_it_was(make_yarddesk, tmp_path):
    end = time.monotonic() + SECONDS
    fuzzed = Fuzzed(make_yarddesk(config=CONFIG), tmp_path)
    for target in CORPUS:
        bodies = [(method, b"{}" if method in (b"PUT", b"POST", b"PATCH") else b"") for method in METHODS]
        fuzzed.try_out(*(request(target, method=method, body=body) for method, body in bodies))
    fuzzed.look_around()
    # Of a day all runs are alike, so that a failure can be looked at; no two days are.
    day = datetime.datetime.now(tz=datetime.UTC).date().toordinal()
    for number in count():
        explore(fuzzed, day * 1000 + number, end)
        fuzzed.look_around()
        if time.monotonic() >= end:
            break
    fuzzed.serve.restart()
    fuzzed.look_around()


def explore(fuzzed: Fuzzed, number: int, end: float) -> None:
    fuzzed.uploads = (fuzzed.hidden, *(fuzzed.begin("fuzz/app") for _ in range(12)), fuzzed.begin("up/app"))

    @seed(number)
    @settings(
        max_examples=EXAMPLES_A_ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(EVENLY, EVENLY, st.lists(st.binary(max_size=200), min_size=1, max_size=2)))
    def one_round(each: list[bytes]) -> None:
        if time.monotonic() < end:
            sent = [OddRequest(choices, fuzzed.uploads).octets() for choices in each]
            note("sent:\n" + "\n".join(map(repr, sent)))
            fuzzed.try_out(*sent)

    one_round()


def test_the_fuzz_would_notice_a_stranger(tmp_path):
    blob = tmp_path / "blobs/sha256/2c" / DIGEST.removeprefix("sha256:")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(BLOB)
    assert hashlib.sha256(BLOB).hexdigest() == blob.name
    assert strangers(tmp_path) == []
    for name in (
        "outside.txt",
        "blobs/x",
        "manifests/Team",
        "manifests/team/_tags/a%2Fb",
        "uploads/x",
        "pending/x.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        assert strangers(tmp_path) == [name]
        path.unlink()
    blob.write_bytes(b"other")
    assert strangers(tmp_path) == [str(blob.relative_to(tmp_path))]
