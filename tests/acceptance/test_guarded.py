"""What attacks `yarddesk serve` from a browser, from other users of the machine and from clients, and what becomes of it.

| attack                                                     | shown by                                                      |
| ---------------------------------------------------------- | ------------------------------------------------------------- |
| DNS rebinding, `0.0.0.0`, a foreign Host                   | unit/registry/test_guard (tables); here: every kind of path   |
| cross-site requests: form, beacon, image, fetch            | the same; here: nothing stored, nothing asked upstream        |
| all of these, by a real browser and a name that moves       | test_browser                                                  |
| pushed content that a browser would run                    | here: security headers on every answer                        |
| other users read the data folder                           | here: modes after a full run under umask 0                    |
| links planted in the data folder                           | here: folders and files; unit/storage/test_on_disk            |
| another program has the port; two instances on one folder  | acceptance/test_serve                                         |
| paths that climb, devices, escapes, case, Unicode forms    | test_fuzz; unit/registry/test_guard; unit/storage/test_layout |
| names as long as, and longer than, disks take              | here                                                          |
| upload ids of other repositories                           | here, all methods; unit/registry/test_uploads                 |
| ranges by the thousand, of uploads and of reads            | here; unit/registry/test_blobs, test_uploads                  |
| counts without an end in `n` and `last`                    | unit/registry/test_listings                                   |
| slow or endless heads, bodies and readers                  | unit/registry/test_connections                                |
| a thousand connections                                     | here; unit/registry/test_connections                          |
| hundreds of uploads at once that fill the memory           | here                                                          |
| smuggled requests                                          | unit/registry/test_smuggling                                  |
| ambiguous manifests, duplicate keys, bombs, huge numbers   | unit/oci/test_manifests; unit/registry/test_manifests         |
"""

import asyncio
import hashlib
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image, build_index
from tests.support.programs import Program, tool
from tests.support.raw_http import RawAnswer, ask, exchange, exchange_all, request
from tests.support.waiting import until, until_async

SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
}
IMAGE = build_image("guarded")


@pytest.fixture
def serve(make_yarddesk):
    return make_yarddesk(config="upstreams: []\n")


def token_of(serve) -> bytes:
    token = (serve.data_dir / "control.token").read_text(encoding="ascii").strip()
    return f"Authorization: Bearer {token}".encode()


# Browsers


EVERYWHERE = [
    b"/", b"/v2/", b"/v2", b"/v2/_catalog", b"/v2/team/app/manifests/1", b"/v2/team/app/tags/list", b"/v2/NOT/valid",
    b"/docker.io/v2/", b"/docker.io/v2/team/app/manifests/1", b"/metrics", b"/healthz", b"/version", b"/api/v1/status",
    b"/api/v1/events", b"/api/v1/nothing", b"/nowhere", b"/favicon.ico",
]  # fmt: skip


def test_no_path_answers_a_foreign_host_or_another_sites_page(make_yarddesk):
    serve = make_yarddesk()
    port, token = serve.port, token_of(serve)
    pages = [
        [b"Origin: null"],
        [b"Origin: http://127.0.0.1:3000"],
        [b"Sec-Fetch-Site: cross-site"],
        [b"Sec-Fetch-Site: same-site", b"Sec-Fetch-Mode: no-cors"],
    ]
    for method, path in product((b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS"), EVERYWHERE):
        sent = [request(path, token, *page, method=method) for page in pages]
        sent += [
            request(path, token, method=method, host=host) for host in (b"rebound.example:5050", b"0.0.0.0:%d" % port)
        ]
        for received in exchange_all(port, sent):
            answer = RawAnswer.parse(received)
            assert answer is not None
            assert answer.status == 403, (method, path)
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_web_page_stores_nothing_and_has_nothing_fetched(make_yarddesk, docker_registry):
    """An `<img>` would spend the user's quota upstream, a form or beacon would push: both need no preflight."""
    docker_registry.push("team/app", "1", IMAGE)
    serve = make_yarddesk(config=push_everything_to(docker_registry.host))
    seen, before = len(docker_registry.seen()), content_of(serve.data_dir)
    body = b"pushed by a page"
    blob = b"/v2/evil/blobs/uploads/?digest=sha256:" + hashlib.sha256(body).hexdigest().encode()
    page = [b"Origin: http://evil.example", b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors"]
    for attempt in (
        request(b"/v2/team/app/manifests/1", b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Dest: image"),
        request(b"/v2/team/app/manifests/1", host=b"rebound.example"),
        request(blob, *page, b"Content-Type: text/plain", method=b"POST", body=body),
        request(blob, b"Origin: null", b"Content-Type: multipart/form-data", method=b"POST", body=body),
        request(b"/v2/evil/manifests/1", *page, method=b"PUT", body=b'{"schemaVersion":2}'),
        request(b"/api/v1/pause", *page, token_of(serve), method=b"POST", body=b"{}"),
    ):
        answer = RawAnswer.parse(exchange(serve.port, attempt))
        assert answer is not None
        assert answer.status == 403
    assert len(docker_registry.seen()) == seen
    assert content_of(serve.data_dir) == before
    assert serve.manifest("team/app", "1") == IMAGE.manifest, "and a client may"


def test_every_answer_has_the_security_headers(serve):
    serve.push("team/app", "1", IMAGE)
    token, layer = token_of(serve), f"/v2/team/app/blobs/{IMAGE.layers[0].digest}".encode()
    huge = b"Content-Length: %d" % (5 << 20)
    answers = {
        "the base": (200, request(b"/v2/")),
        "a manifest": (200, request(b"/v2/team/app/manifests/1")),
        "its HEAD, from memory": (200, request(b"/v2/team/app/manifests/1", method=b"HEAD")),
        "one that the client has": (
            304, request(b"/v2/team/app/manifests/1", f'If-None-Match: "{IMAGE.manifest.digest}"'.encode()),
        ),
        "a blob, from a file": (200, request(layer)),
        "a part of it": (206, request(layer, b"Range: bytes=1-2")),
        "no part of it": (416, request(layer, b"Range: bytes=99999999-")),
        "the catalog": (200, request(b"/v2/_catalog")),
        "an upload": (202, request(b"/v2/team/app/blobs/uploads/", method=b"POST")),
        "no manifest": (404, request(b"/v2/team/app/manifests/none")),
        "nothing": (404, request(b"/nowhere")),
        "nothing of the API": (404, request(b"/api/v1/a/b", token)),
        "no name": (400, request(b"/v2/NO/manifests/1", method=b"PUT", body=b"{}")),
        "no method": (405, request(b"/v2/", method=b"DELETE")),
        "no method of the API": (405, request(b"/api/v1/status", token, method=b"PUT")),
        "no token": (401, request(b"/api/v1/status")),
        "the API": (200, request(b"/api/v1/status", token)),
        "the metrics": (200, request(b"/metrics")),
        "the health": (200, request(b"/healthz")),
        "the version": (200, request(b"/version")),
        "a foreign host": (403, request(b"/v2/", host=b"evil.example")),
        "another site": (403, request(b"/metrics", b"Origin: http://evil.example")),
        "a manifest that is too large": (413, request(b"/v2/team/app/manifests/2", huge, method=b"PUT")),
        "a target that is too long": (414, request(b"/v2/" + b"x" * 9000)),
        "headers that are too long": (431, request(b"/v2/", b"X: " + b"x" * 40_000)),
        "no HTTP": (400, b"NONSENSE\r\n\r\n"),
        "no Host": (400, b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n"),
        "a TLS hello": (400, bytes.fromhex("16030100a5010000a10303") + bytes(160)),
    }  # fmt: skip
    for name, (status, sent) in answers.items():
        answer = RawAnswer.parse(exchange(serve.port, sent))
        assert answer is not None, name
        assert answer.status == status, name
        assert {key: answer.headers.get(key) for key in SECURITY} == SECURITY, name


# Other users of the machine


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    prefix = [tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)


def test_nobody_else_reads_or_writes_the_data_folder_whatever_the_umask(
    docker_registry, make_yarddesk, short_path, tmp_path
):
    """Started from a shell whose umask is 0, through a push, a sync, a failed push, an upload left open and a delete."""
    short_path.chmod(0o755)
    serve = make_yarddesk(folder=short_path / "open")
    serve.configure(push_everything_to(docker_registry.host))
    serve.terminate()
    shutil.rmtree(serve.data_dir)
    start = f"umask 0; exec {sys.executable} -m yarddesk serve --config {serve.config_file} --data-dir {serve.data_dir} --port 0"
    program = Program(["sh", "-c", start], environment=serve.environment, log=tmp_path / "open.log")
    program.start()
    try:
        serve.url = program.wait_for_line(r"^listening on (http://\S+)")[1]
        index = build_index("modes")
        serve.push("team/app", "1", index)
        until(lambda: docker_registry.holds("team/app", "1", index), 30, "the image upstream")
        serve.control("pause", {})
        serve.push("team/waiting", "CON.json", IMAGE)
        serve.request("POST", "/v2/team/app/blobs/uploads/", b"")
        assert serve.request("PUT", "/v2/team/app/manifests/2", b"{}")[0] == 400
        assert serve.request("DELETE", f"/v2/team/app/manifests/{index.images[0].manifest.digest}")[0] == 202
        until(lambda: (serve.data_dir / "followed-tags.jsonl").exists(), 10, "the tags that follow the upstream")
        paths = [serve.data_dir, *serve.data_dir.rglob("*")]
        assert len(paths) > 40
        for path in paths:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path} {mode:o}"
        # Everybody may pass through all that leads there; the folder itself is where it ends.
        assert "data" in as_nobody("ls", str(serve.folder)).stdout.split()
        for attempt in (
            ["ls", serve.data_dir],
            ["cat", serve.data_dir / "control.token"],
            ["touch", serve.data_dir / "x"],
        ):
            refused = as_nobody(*map(str, attempt))
            assert refused.returncode != 0
            assert "Permission denied" in refused.stderr
    finally:
        assert program.stop() == 0


def links_to(victim: Path, link: Path) -> None:
    if link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim, target_is_directory=True)


LAYER = IMAGE.layers[0].digest.removeprefix("sha256:")
# unit/storage/test_on_disk has all of them.
PLANTED = ["blobs", f"blobs/sha256/{LAYER[:2]}", "manifests/team", "manifests/team/app/_tags", "uploads"]


@pytest.mark.parametrize("place", PLANTED)
def test_a_folder_that_is_a_link_is_not_followed(serve, tmp_path, place):
    """What lies behind it looks just as it would here, so that only the link itself can be the reason."""
    serve.push("team/app", "1", IMAGE)
    victim = tmp_path / "victim"
    if (serve.data_dir / place).exists():
        shutil.copytree(serve.data_dir / place, victim)
    serve.terminate()
    serve.start()
    links_to(victim, serve.data_dir / place)
    before = content_of(victim)
    seen = {
        "blob": serve.request("GET", f"/v2/team/app/blobs/{IMAGE.layers[0].digest}"),
        "manifest": serve.request("GET", "/v2/team/app/manifests/1"),
        "push": serve.request("POST", "/v2/team/app/blobs/uploads/", b""),
    }
    blind = "push" if place == "uploads" else "blob" if place.startswith("blobs") else "manifest"
    status, _, body = seen[blind]
    assert status >= 404, (blind, status)
    assert IMAGE.layers[0].content not in body
    assert IMAGE.manifest.content not in body
    for reference in ("2", build_image("other").manifest.digest):
        put = serve.request("PUT", f"/v2/team/app/manifests/{reference}", build_image("other").manifest.content)
        assert put[0] >= 400
    octets = {"Content-Type": "application/octet-stream"}
    digest = IMAGE.layers[0].digest
    serve.request("POST", f"/v2/team/app/blobs/uploads/?digest={digest}", IMAGE.layers[0].content, octets)
    serve.request("DELETE", "/v2/team/app/manifests/1")
    serve.request("DELETE", f"/v2/team/app/blobs/{digest}")
    assert content_of(victim) == before
    assert "Traceback" not in serve.output()


def test_a_file_that_is_a_link_is_not_followed(serve, tmp_path):
    serve.push("team/app", "1", IMAGE)
    secret = tmp_path / "secret"
    secret.write_bytes(IMAGE.layers[0].content)
    tag = tmp_path / "tag"
    tag.write_text(IMAGE.manifest.digest)
    serve.terminate()
    serve.start()
    manifest = IMAGE.manifest.digest.removeprefix("sha256:")
    planted = {
        serve.data_dir / "blobs/sha256" / LAYER[:2] / LAYER: secret,
        serve.data_dir / "manifests/team/app/_tags/2": tag,
        serve.data_dir / "manifests/team/app/_sha256" / manifest: secret,
    }
    for link, behind in planted.items():
        link.unlink(missing_ok=True)
        link.symlink_to(behind)
    assert serve.request("GET", f"/v2/team/app/blobs/{IMAGE.layers[0].digest}")[0] >= 404
    assert serve.request("GET", "/v2/team/app/manifests/2")[0] >= 404
    assert serve.request("GET", f"/v2/team/app/manifests/{IMAGE.manifest.digest}")[0] >= 404
    serve.push("team/app", "2", IMAGE)
    assert serve.holds("team/app", "2", IMAGE)
    assert not [link for link in planted if link.is_symlink()]
    assert (secret.read_bytes(), tag.read_text()) == (IMAGE.layers[0].content, IMAGE.manifest.digest)


# Clients


def test_an_upload_is_its_repositorys_alone(serve):
    status, headers, _ = serve.request("POST", "/v2/team/mine/blobs/uploads/", b"")
    location = headers["Location"]
    assert (status, serve.request("PATCH", location, b"hello")[0]) == (202, 202)
    upload = location.rsplit("/", 1)[1]
    digest = "sha256:" + hashlib.sha256(b"hello").hexdigest()
    for other in ("team/other", "team", "mine", "team/mine/more"):
        theirs = f"/v2/{other}/blobs/uploads/{upload}"
        for method, path in (
            ("GET", theirs),
            ("PATCH", theirs),
            ("PUT", f"{theirs}?digest={digest}"),
            ("DELETE", theirs),
        ):
            status, _, body = serve.request(method, path, b"x" if method == "PATCH" else None)
            assert (status, json.loads(body)["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert serve.request("GET", location)[1]["Range"] == "0-4"
    assert serve.request("PUT", f"{location}?digest={digest}")[0] == 201


def test_names_that_differ_in_case_are_two_and_names_in_other_unicode_forms_are_none(serve):
    lower, upper = build_image("lower"), build_image("upper")
    serve.push("team/app", "tag", lower)
    serve.push("team/app", "TAG", upper)
    assert serve.holds("team/app", "tag", lower)
    assert serve.holds("team/app", "TAG", upper)
    serve.request("DELETE", "/v2/team/app/manifests/TAG")
    assert serve.holds("team/app", "tag", lower)
    for tag in ("caf\u00e9", "cafe\u0301", "\uff54\uff41\uff47", "ta\u200bg", "\u017ftag"):
        for raw in (tag.encode(), b"".join(b"%%%02X" % octet for octet in tag.encode())):
            for method in (b"GET", b"PUT", b"DELETE"):
                path = b"/v2/team/app/manifests/" + raw
                assert ask(serve.port, path, method=method, body=b"{}" if method == b"PUT" else b"").status in (
                    400,
                    404,
                )
    assert serve.request("GET", "/v2/Team/app/manifests/tag")[0] == 400


def test_devices_and_files_of_ours_are_names_as_others(serve):
    for device in ("con", "nul", "aux.txt", "com1", "lpt9.json", "prn", "sha256_" + "a" * 64, "x.json", "x.type"):
        name = f"team/{device.replace('_', '-')}"
        serve.push(name, device, IMAGE)
        assert serve.holds(name, device, IMAGE), device
        assert serve.tags(name) == [device]


def test_names_as_long_as_they_may_be_are_kept_and_longer_ones_refused(serve):
    tags = ["t" * 128, "T" * 128, "." + "A" * 127, "Aa" * 64, "_" + "-" * 127]
    names = [
        "n" * 255,
        "/".join("n" * 127 for _ in range(2)),
        "/".join(["a"] * 128),
        "n" * 250 + ".json",
        "con." + "x" * 251,
    ]
    for name in names:
        serve.push(name, "v1", IMAGE)
        assert serve.holds(name, "v1", IMAGE), name
    for tag in tags:
        valid = tag[0] not in ".-"
        status = serve.request("PUT", f"/v2/team/app/manifests/{tag}", b"{}")[0]
        assert status == 400, tag
        if valid:
            serve.push("team/app", tag, IMAGE)
            assert serve.holds("team/app", tag, IMAGE), tag
    for name in ("n" * 256, "a/" * 127 + "aa", "n" * 300, "n" * 5000):
        for path in (f"/v2/{name}/manifests/v1", f"/v2/{name}/blobs/uploads/", f"/v2/{name}/tags/list"):
            for method in (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD"):
                assert ask(serve.port, path.encode(), method=method).status in (400, 404, 405)
    assert ask(serve.port, b"/v2/team/app/manifests/" + b"t" * 129, method=b"PUT", body=b"{}").status == 400


def test_a_range_header_of_ten_thousand_ranges_costs_nothing(serve):
    serve.push("team/app", "1", IMAGE)
    layer = f"/v2/team/app/blobs/{IMAGE.layers[0].digest}".encode()
    many = b"Range: bytes=" + b",".join(b"%d-%d" % (n % 10, n % 10) for n in range(7000))
    assert len(many) < 32 * 1024
    began = cpu_seconds(serve.pid)
    for _ in range(20):
        answer = ask(serve.port, layer, many)
        assert (answer.status, answer.rest) == (200, IMAGE.layers[0].content)
    assert (cpu_seconds(serve.pid) - began) / 20 < 0.02
    assert ask(serve.port, layer, b"Range: bytes=" + b"0-0," * 10_000).status == 431


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many files as a test may open here, which are more than the usual thousand."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_connections_at_once_leave_it_answering(serve):
    """Half of them stop in their head, the others in a body; all of it long before a time limit would end them."""
    head = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    body = (
        b"POST /v2/team/app/blobs/uploads/?digest=sha256:"
        + b"0" * 64
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
    )
    held = []
    try:
        for number in range(1000):
            _, writer = await asyncio.open_connection("127.0.0.1", serve.port)
            writer.write(head if number % 2 else body)
            held.append(writer)
        times = []
        for _ in range(100):
            began = time.monotonic()
            answer = await asyncio.to_thread(ask, serve.port, b"/v2/")
            times.append(time.monotonic() - began)
            assert answer.status == 200
        assert sorted(times)[98] < 2.0
        assert await asyncio.to_thread(_push_and_hold, serve)
    finally:
        for writer in held:
            writer.transport.abort()
    # Those that are gone leave nothing behind.
    descriptors, uploads = Path(f"/proc/{serve.pid}/fd"), serve.data_dir / "uploads"
    await until_async(lambda: len(list(descriptors.iterdir())) < 100, 20, "connections that are gone are closed")
    await until_async(lambda: not list(uploads.iterdir()), 20, "uploads that nobody can go on with are removed")


def _push_and_hold(serve) -> bool:
    serve.push("team/app", "busy", IMAGE)
    return bool(serve.holds("team/app", "busy", IMAGE))


@pytest.mark.usefixtures("many_files")
async def test_hundreds_of_uploads_at_once_share_a_bounded_memory(serve):
    """Each stops before its last byte, when all that it sent has been taken; then all of them end well."""
    clients, layer = 200, 1_900_000
    digests = [hashlib.sha256(upload_body(number, layer)).hexdigest() for number in range(clients)]
    before = memory_bytes(serve.pid)
    all_sent = asyncio.Barrier(clients)

    async def upload(number: int) -> bytes:
        body = upload_body(number, layer)
        reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
        head = f"POST /v2/team/app/blobs/uploads/?digest=sha256:{digests[number]} HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(f"{head}Content-Length: {layer}\r\nConnection: close\r\n\r\n".encode())
        for start in range(0, layer - 1, 65536):
            writer.write(body[start : min(start + 65536, layer - 1)])
            await writer.drain()
        await all_sent.wait()
        writer.write(body[-1:])
        answer = await reader.read()
        writer.close()
        return answer.partition(b"\r\n")[0]

    answers = await asyncio.gather(*map(upload, range(clients)))
    assert set(answers) == {b"HTTP/1.1 201 Created"}
    assert memory_bytes(serve.pid) - before < 70_000_000


def upload_body(number: int, size: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


def memory_bytes(pid: int) -> int:
    """The most that was resident at once since the process began."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Every path below it, with what is in the files; without what changes by itself while an instance runs."""
    by_itself = {"control.json", "control.token", "run.json", "lock"}
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name not in by_itself
    }
