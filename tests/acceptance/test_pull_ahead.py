"""`yarddesk pull`: from real registries, with a running instance and without; afterwards engines pull with the registries stopped."""

import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import Stall
from tests.peers.steps import Step
from tests.support.artifacts import cosign_referrer
from tests.support.images import THIS_PLATFORM, build_image, build_index
from tests.support.programs import Program
from tests.support.waiting import until

OTHER = "linux/s390x"
SIZES = (200_000, 3000)


def upstreams(**registries: str) -> str:
    """Pull-only upstreams; prefix → HOST:PORT."""
    entries = [
        f'  - {{prefix: "{prefix}", registry: "{host}", tls: {{plain_http: true}}}}\n'
        for prefix, host in registries.items()
    ]
    return f"upstreams:\n{''.join(entries)}"


def pulled(done):
    return {item["image"]: item for item in json.loads(done.stdout)["images"]}


@dataclass(frozen=True)
class StallLarge(Stall):
    """As Stall, but what is shorter comes to its end, and so its connection can be used again."""

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        passed = pieces if length is not None and length <= self.after else super().received(pieces, length)
        async for piece in passed:
            yield piece


def bytes_in(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:  # one went meanwhile
        return 1


@pytest.fixture
def hub(make_registry):
    return make_registry()


@pytest.fixture
def other(make_registry):
    return make_registry()


@pytest.mark.parametrize("running", [True, False], ids=["running", "alone"])
def test_all_that_compose_and_kubernetes_files_name_is_here_when_the_registries_are_gone(
    make_yarddesk, hub, other, docker, podman, skopeo, tmp_path: Path, running: bool
) -> None:
    index = build_index("web", (THIS_PLATFORM, OTHER), SIZES)
    hub.push("library/web", "1.2", index)
    worker, model = build_image("worker", SIZES, docker=True), build_image("model", SIZES)
    other.push("org/worker", "latest", worker)
    other.push("org/model", "v3", model)
    (tmp_path / ".env").write_text("WEB=1.2\n")
    compose = f"services:\n  web: {{image: '{hub.host}/library/web:${{WEB}}'}}\n  worker: {{image: {other.host}/org/worker}}\n"
    (tmp_path / "compose.yaml").write_text(compose)
    pod = f"apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: '{other.host}/org/model@{model.manifest.digest}'}}]}}\n"
    app = make_yarddesk(config=upstreams(hub=hub.host, other=other.host), started=running)
    done = app.run("pull", "-f", str(tmp_path / "compose.yaml"), "-f", "-", "--json", input_text=pod)
    items = pulled(done)
    assert {name: item["error"] for name, item in items.items()} == dict.fromkeys(items)
    web = items[f"{hub.host}/library/web:1.2"]
    assert (web["name"], web["platforms"], web["referrers"]) == ("hub/library/web:1.2", [THIS_PLATFORM], 0)
    before = len(hub.seen("GET", "blobs"))
    assert before == len({blob.digest for blob in index.images[0].blobs}), "the other platform's were not fetched"
    again = pulled(app.run("pull", f"{hub.host}/library/web:1.2", "hub/library/web:1.2", "--json"))
    assert {item["fetched"] for item in again.values()} == {0}
    assert len(hub.seen("GET", "blobs")) == before
    hub.stop()
    other.stop()
    if not running:
        app.start()
    skopeo.copy(f"docker://{app.registry}/hub/library/web:1.2", f"dir:{tmp_path / 'web'}")
    docker.pull(f"{app.registry}/other/org/worker:latest")
    podman.pull(f"{app.registry}/other/org/model@{model.manifest.digest}")
    assert app.holds("other/org/worker", "latest", worker)


def test_a_service_says_what_platform_its_image_is_for_and_an_option_says_it_of_all(
    make_yarddesk, hub, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        hub.push(name, "latest", build_index(name, (THIS_PLATFORM, OTHER), (2000,)))
    file = tmp_path / "compose.yaml"
    file.write_text(f"services:\n  a: {{image: hub/a, platform: {OTHER}}}\n  b: {{image: hub/b}}\n")
    app = make_yarddesk(config=upstreams(hub=hub.host))

    def platforms(*options: str) -> dict[str, list[str]]:
        done = app.run("pull", "-f", str(file), "--json", *options)
        return {name: item["platforms"] for name, item in pulled(done).items()}

    assert platforms() == {"hub/a": [OTHER], "hub/b": [THIS_PLATFORM]}
    assert platforms("--platform", THIS_PLATFORM) == {"hub/a": [THIS_PLATFORM], "hub/b": [THIS_PLATFORM]}
    file.write_text("services: {a: {image: a, build: .}}\n")
    assert f"No image is named in {file}." in app.run("pull", "-f", str(file)).stderr


def test_all_platforms_and_what_is_about_them(make_yarddesk, make_registry) -> None:
    lists_referrers = make_yarddesk(config="upstreams: []\n")  # docker-registry lists none
    index = build_index("web", (THIS_PLATFORM, OTHER), SIZES)
    lists_referrers.push("web", "v1", index)
    signature = cosign_referrer(index.images[1].manifest)
    lists_referrers.push("web", signature.manifest.digest, signature)
    app = make_yarddesk(config=upstreams(up=lists_referrers.registry))
    item = pulled(app.run("pull", "up/web:v1", "--platform", "all", "--json"))["up/web:v1"]
    assert (item["platforms"], item["referrers"], item["remarks"]) == ([THIS_PLATFORM, OTHER], 1, [])
    lists_referrers.terminate()
    assert app.holds("up/web", "v1", index)
    assert app.holds("up/web", signature.manifest.digest, signature)


def test_what_can_not_be_had_is_told_and_the_others_are_here(make_yarddesk, hub, tmp_path: Path) -> None:
    image = build_image("a", SIZES)
    hub.push("a", "latest", image)
    (tmp_path / "compose.yaml").write_text('services:\n  x: {image: "x:${NOT_SET}"}\n')
    app = make_yarddesk(config=upstreams(hub=hub.host))
    done = app.run(
        "pull", "hub/absent:1", "hub/a", "quay.io/org/app", "UPPER", "-f", str(tmp_path / "compose.yaml"), status=1
    )
    assert f"hub/a:latest  {image.manifest.digest}" in done.stdout
    for words in (
        "There is no hub/absent:1 at its upstream",
        "No upstream leads to quay.io",
        "“UPPER” is not a repository name",
        "NOT_SET is not set",
        "4 images of 5 could not be had",
    ):
        assert words in done.stderr, done.stderr
    assert app.holds("hub/a", "latest", image)
    lacking = app.run("pull", "hub/a", "--platform", "plan9", status=2)
    assert "not a platform" in lacking.stderr
    assert "nothing to pull" in app.run("pull", status=2).stderr
    hub.stop()
    assert "refused the connection" in app.run("pull", "hub/a", status=1).stderr


def test_a_tag_of_ours_is_replaced_and_one_that_is_queued_is_not(make_yarddesk, hub) -> None:
    ours, theirs = build_image("ours"), build_image("theirs")
    config = upstreams(hub=hub.host)
    app = make_yarddesk(config=config)
    app.push("hub/app", "v1", ours)
    hub.push("app", "v1", theirs)
    assert app.holds("hub/app", "v1", ours)
    app.run("pull", "hub/app:v1")
    assert app.holds("hub/app", "v1", theirs)
    app.terminate()
    app.configure(config.replace("{prefix", "{push: true, prefix"))
    app.start()
    app.run("pause")
    app.push("hub/app", "v2", ours)
    assert "still on its way upstream" in app.run("pull", "hub/app:v2", status=1).stderr
    app.terminate()
    assert "still on its way upstream" in app.run("pull", "hub/app:v2", status=1).stderr, "and alone"


def test_hundreds_of_names_in_one_file(make_yarddesk, hub, tmp_path: Path) -> None:
    image = build_image("a", (2000,))
    hub.push("a", "v1", image)
    long = "a" + "/x" * 120
    services = "".join(f"  s{n}: {{image: 'hub/{long}:{n}'}}\n" for n in range(300))
    (tmp_path / "compose.yaml").write_text(f"services:\n{services}  last: {{image: 'hub/a:v1'}}\n")
    app = make_yarddesk(config=upstreams(hub=hub.host))
    done = app.run("pull", "-f", str(tmp_path / "compose.yaml"), status=1)
    assert f"hub/a:v1  {image.manifest.digest}" in done.stdout
    assert "300 images of 301 could not be had" in done.stderr


@pytest.mark.parametrize("running", [True, False], ids=["running", "alone"])
def test_an_interrupt_ends_it_at_once_and_leaves_nothing_half(
    make_yarddesk, hub, tmp_path: Path, running: bool
) -> None:
    image = build_image("slow", (40_000_000,))
    hub.push("slow", "v1", image)
    with FaultProxy(hub.host) as proxy:
        proxy.inject(Step.BLOB_GET, StallLarge("body", 3_000_000), times=float("inf"))
        app = make_yarddesk(config=upstreams(hub=proxy.host), started=running)
        arguments = ["pull", "hub/slow:v1", "--config", str(app.config_file), "--data-dir", str(app.data_dir)]
        command = Program(
            [sys.executable, "-m", "yarddesk", *arguments], environment=app.environment, log=tmp_path / "pull.log"
        )
        command.start()
        try:
            until(lambda: bytes_in(app.data_dir / "uploads") > 1_000_000, 30, "it comes in")
            command.send(signal.SIGINT)
            assert command.wait(5) == 130
        finally:
            command.kill()
        until(lambda: not bytes_in(app.data_dir / "uploads"), 10, "the fill ended")
    layer = image.layers[0].digest.removeprefix("sha256:")
    assert not list((app.data_dir / "blobs").rglob(layer))
