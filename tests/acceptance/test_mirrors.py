"""docker, podman, skopeo and containerd pull through `yarddesk serve`, as their mirror, from registries that they don't know of:
once while those are there, once while they are gone, and once when what a tag names has changed there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import oras.client
import pytest

from tests.acceptance.mirrors import CLIENTS, EXAMPLE, HUB, Client, SkopeoClient, Upstream, mirror_settings
from tests.acceptance.secrets import files_with, forms_of
from tests.peers.token_server import TokenServer
from tests.peers.yarddesk import YarddeskProcess
from tests.support.artifacts import cosign_referrer, cosign_signature, cosign_tag, referrers_list
from tests.support.images import THIS_PLATFORM, Image, Index, build_index
from tests.support.waiting import until
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import referrers_tag

pytestmark = pytest.mark.xdist_group("mirrors")

OTHER = "linux/s390x"
SIZES = (300_000, 3000)
USER, PASSWORD = "ci", "c4nary of an upstream"


class Yard:
    """A yarddesk between the clients and three registries: one gives everybody a token for pulls, as Docker Hub does, one only
    for a password, and one asks for nothing."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.for_everybody = TokenServer(folder / "everybody", anonymous_pull=True)
        self.for_known = TokenServer(folder / "known", users={USER: PASSWORD})
        for server in (self.for_everybody, self.for_known):
            server.start()
            stack.callback(server.stop)
        self.hub = Upstream(folder / "hub", stack, token=self.for_everybody.auth)
        self.own = Upstream(folder / "own", stack, token=self.for_known.auth)
        self.example = Upstream(folder / "example", stack)
        config = mirror_settings(self.hub, self.own, self.example)
        self.serve = YarddeskProcess(folder / "yard", config=config, environment={"UPSTREAM_PASSWORD": PASSWORD})
        stack.callback(self.serve.kill)
        self.serve.start()

    @contextmanager
    def without_upstreams(self) -> Iterator[None]:
        """They are stopped meanwhile. At the end those that were found away are asked again."""
        registries = [upstream.registry for upstream in (self.hub, self.own, self.example)]
        for registry in registries:
            registry.stop()
        try:
            yield
        finally:
            for registry in registries:
                registry.start()
            until(self._all_are_asked, 60, "a probe finds them")

    def _all_are_asked(self) -> bool:
        return all(each["pulls"]["state"] == "ok" for each in self.serve.control("status")["upstreams"])

    def sent(self, source: str) -> float:
        """Bytes that clients got from the store, or from an upstream."""
        return self.serve.metrics()["yarddesk_sent_bytes_total"].value(source=source)


@pytest.fixture(scope="module")
def yard(short_folder: Path) -> Iterator[Yard]:
    with ExitStack() as stack:
        yard = Yard(short_folder / "yard", stack)
        yield yard
        assert {(asked.account, asked.granted) for asked in yard.for_everybody.requests} == {("", True)}
        assert {(asked.account, asked.granted) for asked in yard.for_known.requests} <= {(USER, True)}
        assert files_with(forms_of(USER, PASSWORD), yard.serve.folder) == []


@dataclass(frozen=True)
class Wanted:
    """An image that a client pulls by a registry's name; upstream: where it comes from."""

    client: Client
    upstream: Upstream
    registry: str
    repository: str
    tag: str
    index: Index

    @property
    def image(self) -> Image:
        """What this machine's platform needs."""
        return self.index.images[0]

    @property
    def blobs(self) -> list[str]:
        return [blob.digest for blob in self.image.blobs]

    def pull(self) -> None:
        name = self.client.name(self.registry, self.repository, self.tag)
        self.client.pull(name)
        assert self.client.has(name, self.image), name

    def pull_by_prefix(self, serve: YarddeskProcess) -> None:
        """By the name that it has at ours, as somebody writes it who knows of no mirror."""
        name = f"{serve.registry}/{self.registry}/{self.repository}:{self.tag}"
        self.client.pull(name)
        assert self.client.has(name, self.image), name

    def moved(self) -> Wanted:
        """Its tag names another image there."""
        newer = index(f"newer {self.repository}")
        self.upstream.push(self.repository, self.tag, newer)
        return replace(self, index=newer)


def index(seed: str, *, docker: bool = False) -> Index:
    return build_index(seed, (THIS_PLATFORM, OTHER), SIZES, docker=docker)


def wanted_by(client: Client, engine: str, yard: Yard) -> list[Wanted]:
    """One image of each upstream; the first upstream's tags are believed for a while, the others' are asked for each time."""
    images = [
        Wanted(client, yard.hub, HUB, f"library/web-{engine}", "v1", index(f"web {engine}")),
        Wanted(client, yard.own, HUB, f"team/app-{engine}", "latest", index(f"app {engine}", docker=True)),
        Wanted(client, yard.example, EXAMPLE, f"org/tool-{engine}", "latest", index(f"tool {engine}")),
    ]
    for each in images:
        each.upstream.push(each.repository, each.tag, each.index)
    return images


def test_clients_pull_from_every_upstream_then_without_them_then_what_moved(yard: Yard, short_path: Path) -> None:
    with ExitStack() as stack:
        clients = {name: make(short_path, yard.serve, stack) for name, make in CLIENTS.items()}
        wanted = [each for name, client in clients.items() for each in wanted_by(client, name, yard)]
        for each in wanted:
            each.pull()
            assert sorted(each.upstream.blobs_read(each.repository)) == sorted(each.blobs)
            manifests = each.upstream.manifests_read(each.repository)
            assert len(manifests) == 2, manifests
            assert each.image.manifest.digest in manifests
        for each in wanted:
            if each.upstream is yard.own:
                each.pull_by_prefix(yard.serve)
                assert sorted(each.upstream.blobs_read(each.repository)) == sorted(each.blobs)

        for client in clients.values():
            client.empty()
        with yard.without_upstreams():
            yard.serve.restart()
            for each in wanted:
                each.pull()
            assert yard.sent("upstream") == 0
            assert yard.sent("store") >= sum(len(blob.content) for each in wanted for blob in each.image.blobs)
            moved = [each if each.upstream is yard.hub else each.moved() for each in wanted]
        for before, after in zip(wanted, moved, strict=True):
            after.pull()
            more = [] if after is before else after.blobs
            assert sorted(after.upstream.blobs_read(after.repository)) == sorted(before.blobs + more)
            assert len(after.upstream.manifests_read(after.repository)) == (2 if after is before else 4)
        assert {(asked.account, asked.granted) for asked in yard.for_known.requests} == {(USER, True)}


def test_signatures_come_with_their_image_and_stay_without_the_upstream(
    yard: Yard, short_path: Path, tmp_path: Path
) -> None:
    """skopeo asks for cosign's tags, and a client of the referrers API finds what a registry without one lists under a tag."""
    image = index("signed")
    child = image.images[0].manifest
    signature, bundle = cosign_signature(child), cosign_referrer(child)
    repository = "library/signed"
    yard.hub.push(repository, "v1", image)
    yard.hub.push(repository, cosign_tag(child.digest, "sig"), signature)
    yard.hub.push(repository, "bundle", bundle)
    yard.hub.push(repository, referrers_tag(Digest.parse(child.digest)), referrers_list(bundle))
    with ExitStack() as stack:
        skopeo = SkopeoClient(short_path, yard.serve, stack)
        attachments = short_path / "registries.d"
        attachments.mkdir()
        (attachments / "cosign.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        library = oras.client.OrasClient(hostname=yard.serve.registry, insecure=True, tls_verify=False)
        stack.enter_context(closing(library.session))

        def pull(folder: Path) -> None:
            name = skopeo.name(HUB, repository, "v1")
            skopeo.pull(name, f"--registries.d={attachments}")
            assert skopeo.has(name, image.images[0])
            kept = json.loads((skopeo.folder(name) / "signature-1").read_bytes().partition(b"\n")[2])
            assert base64.b64decode(kept["payload"]) == signature.blobs[1].content
            ours = f"{yard.serve.registry}/{HUB}/{repository}"
            listed = library.do_request(f"http://{yard.serve.registry}/v2/{HUB}/{repository}/referrers/{child.digest}")
            (entry,) = listed.json()["manifests"]
            assert entry["digest"] == bundle.manifest.digest
            (file,) = library.pull(target=f"{ours}@{entry['digest']}", outdir=str(folder))
            assert Path(file).read_bytes() == bundle.blobs[1].content

        pull(tmp_path / "first")
        with yard.without_upstreams():
            pull(tmp_path / "second")
            yard.serve.restart()
            pull(tmp_path / "third")
