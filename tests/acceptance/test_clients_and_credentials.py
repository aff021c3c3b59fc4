"""docker, podman and skopeo push to `yarddesk serve`, and all of it arrives at registries of every kind of door, with
credentials from every place that holds some: one running instance, one upstream a case."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import pytest

from tests.acceptance.secrets import files_with, forms_of
from tests.peers.credential_helper import CredentialHelper
from tests.peers.dockerd import Docker, Dockerd
from tests.peers.engines import Podman, Skopeo
from tests.peers.registry import DockerRegistry, over_tls
from tests.peers.secret_service import SecretService
from tests.peers.token_server import TokenServer
from tests.peers.yarddesk import YarddeskProcess
from tests.support.certificates import private_authority
from tests.support.images import Image, build_image, write_docker_archive, write_oci_layout
from tests.support.waiting import until

pytestmark = pytest.mark.xdist_group("dockerd")

USER = "ci"
PASSWORD = "c4nary pässword/of?a+test"
IDENTITY = "c4nary-identity-token-of-a-test"

Door = Literal["open", "TLS", "password", "password over TLS", "token", "token over TLS"]
Source = Literal["nothing", "keychain", "helper", "auths", "identity", "identity of a helper"]
Client = Literal["docker", "podman", "skopeo"]


@dataclass(frozen=True)
class Case:
    door: Door
    client: Client
    source: Source

    @property
    def name(self) -> str:
        """Of the upstream, and of its prefix."""
        return "-".join((self.door, self.client, self.source)).replace(" ", "-").lower()


# Every client at every door, every client with every source, every source at every door that takes it.
CASES = [
    Case("open", "docker", "nothing"),
    Case("open", "podman", "nothing"),
    Case("open", "skopeo", "nothing"),
    Case("TLS", "docker", "nothing"),
    Case("TLS", "podman", "nothing"),
    Case("TLS", "skopeo", "nothing"),
    Case("password", "docker", "helper"),
    Case("password", "podman", "auths"),
    Case("password", "skopeo", "keychain"),
    Case("password over TLS", "docker", "keychain"),
    Case("password over TLS", "podman", "helper"),
    Case("password over TLS", "skopeo", "auths"),
    Case("token", "docker", "auths"),
    Case("token", "podman", "keychain"),
    Case("token", "skopeo", "helper"),
    Case("token over TLS", "docker", "identity"),
    Case("token over TLS", "podman", "identity of a helper"),
    Case("token over TLS", "docker", "auths"),
    Case("token over TLS", "podman", "helper"),
    Case("token over TLS", "skopeo", "keychain"),
    Case("token", "skopeo", "identity"),
]


class Street:
    """All the doors, the places that hold the keys, and the one yarddesk that goes from door to door."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.tokens = TokenServer(folder / "tokens", users={USER: PASSWORD}, refresh_tokens={IDENTITY: USER})
        self.tokens.start()
        stack.callback(self.tokens.stop)
        self.helper = CredentialHelper(folder / "helper")
        self.keychain = SecretService(folder / "keychain")
        self.keychain.start()
        stack.callback(self.keychain.stop)
        self._tls = private_authority(folder)
        self.registries = {case: self._registry(case) for case in CASES}
        self.yard = self._yard()

    def _registry(self, case: Case) -> DockerRegistry:
        certificate, key, _ = self._tls
        registry = DockerRegistry(
            self._folder / case.name,
            users={USER: PASSWORD} if "password" in case.door else {},
            token=self.tokens.auth if "token" in case.door else None,
            settings=over_tls(certificate, key) if "TLS" in case.door else {},
        )
        self._stack.callback(registry.stop)
        registry.start()
        return registry

    def _yard(self) -> YarddeskProcess:
        environment = self.keychain.environment | {
            "DOCKER_CONFIG": str(self._docker_config()),
            "PATH": os.pathsep.join((str(self.helper.bin), os.environ["PATH"])),
        }
        upstreams = [self._upstream(case, registry) for case, registry in self.registries.items()]
        # JSON is YAML.
        yard = YarddeskProcess(
            self._folder / "yarddesk", config=json.dumps({"upstreams": upstreams}), environment=environment
        )
        self._stack.callback(yard.kill)
        for case in CASES:
            if case.source == "keychain":
                arguments = ("login", case.name, "--username", USER, "--password-stdin")
                said = yard.run(*arguments, input_text=f"{PASSWORD}\n")
                assert said.stderr == ""
        yard.start()
        return yard

    def _upstream(self, case: Case, registry: DockerRegistry) -> dict[str, object]:
        tls = {"ca_file": str(self._tls[2])} if "TLS" in case.door else {"plain_http": True}
        return {"name": case.name, "prefix": case.name, "registry": registry.host, "push": True, "tls": tls}

    def _docker_config(self) -> Path:
        """What `docker login` would have written; the keychain's entries are not here."""
        auths: dict[str, dict[str, str]] = {}
        for case, registry in self.registries.items():
            match case.source:
                case "auths":
                    auths[registry.host] = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
                case "identity":
                    auths[registry.host] = {"identitytoken": IDENTITY}
                case "helper":
                    self.helper.knows(registry.host, USER, PASSWORD)
                case "identity of a helper":
                    self.helper.knows(registry.host, "<token>", IDENTITY)
        helped = [registry.host for case, registry in self.registries.items() if "helper" in case.source]
        config = {"auths": auths, "credHelpers": dict.fromkeys(helped, self.helper.name)}
        folder = self._folder / "docker config"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder


class Clients:
    """Push an image under a name; give the digest of the manifest that the client says it pushed."""

    def __init__(self, folder: Path, dockerd: Dockerd) -> None:
        self._folder = folder
        self._docker: Docker = dockerd.client(folder / "docker")
        self._podman = Podman(folder / "podman")
        self._skopeo = Skopeo(folder / "skopeo")

    def push(self, client: Client, image: Image, name: str) -> str:
        if client == "docker":
            archive = write_docker_archive(self._folder / "image.tar", image, name)
            self._docker.load(archive)
            self._docker.push(name)
            return self._docker.repository_digest(name)
        said = self._folder / "digest"
        if client == "podman":
            self._podman.load(image, name)
            self._podman.run("push", "--tls-verify=false", f"--digestfile={said}", name)
        else:
            layout = write_oci_layout(self._folder / name.rpartition(":")[2], image)
            self._skopeo.copy(layout, f"docker://{name}", f"--digestfile={said}")
        return said.read_text(encoding="ascii").strip()


@pytest.fixture(scope="module")
def street(short_folder: Path) -> Iterator[Street]:
    with ExitStack() as stack:
        street = Street(short_folder / "street", stack)
        yield street
        assert files_with([*forms_of(USER, PASSWORD), IDENTITY.encode()], street.yard.folder) == []


@pytest.fixture(scope="module")
def clients(short_folder: Path, dockerd: Dockerd) -> Clients:
    return Clients(short_folder, dockerd)


def test_each_client_meets_each_door_and_each_source_and_each_source_each_door() -> None:
    assert {(case.client, case.door) for case in CASES} == set(product(get_args(Client), get_args(Door)))
    kept = ("keychain", "helper", "auths")
    assert {(case.client, case.source) for case in CASES} >= set(product(get_args(Client), kept))
    locked = [door for door in get_args(Door) if door not in ("open", "TLS")]
    assert {(case.source, case.door) for case in CASES} >= set(product(kept, locked))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_client_pushes_arrives_byte_for_byte(street: Street, clients: Clients, case: Case) -> None:
    yard, registry = street.yard, street.registries[case]
    image = build_image(case.name, (5_000_000, 3000))
    pushed = clients.push(case.client, image, f"{yard.registry}/{case.name}/app:{case.client}")
    outcome = yard.control("wait", {"target": f"{case.name}/app:{case.client}", "seconds": 25})
    assert outcome["state"] == "done", outcome
    assert registry.tagged("app", case.client) == pushed
    document = json.loads(verified(registry, pushed))
    contents = [verified(registry, blob["digest"]) for blob in (document["config"], *document["layers"])]
    # Whatever the client packed anew: it is the image that was built.
    layers = [hashlib.sha256(gzip.decompress(content)).hexdigest() for content in contents[1:]]
    expected = [hashlib.sha256(gzip.decompress(layer.content)).hexdigest() for layer in image.layers]
    assert layers == expected
    assert json.loads(contents[0])["rootfs"]["diff_ids"] == [f"sha256:{plain}" for plain in expected]
    assert registry.uploads_left("app") == []
    if "helper" in case.source:
        assert f"get {registry.host}" in street.helper.asked


def test_an_identity_token_is_a_refresh_token_and_a_mount_asks_for_both_repositories(
    street: Street, clients: Clients
) -> None:
    case = next(case for case in CASES if case.source == "identity")
    asked, image = len(street.tokens.requests), build_image("identity")
    for repository in ("first", "second"):
        clients.push("skopeo", image, f"{street.yard.registry}/{case.name}/{repository}:1")
        outcome = street.yard.control("wait", {"target": f"{case.name}/{repository}:1", "seconds": 25})
        assert outcome["state"] == "done", outcome
        assert street.registries[case].tagged(repository, "1") == image.manifest.digest
    requests = street.tokens.requests[asked:]
    assert {(each.method, each.grant, each.account) for each in requests} == {("POST", "refresh_token", USER)}
    assert {frozenset(each.scopes) for each in requests} == {
        frozenset({"repository:first:pull,push"}),
        frozenset({"repository:second:pull,push"}),
        frozenset({"repository:second:pull,push", "repository:first:pull"}),
    }
    mounts = street.registries[case].seen("POST", "second/blobs/uploads/.*mount=")
    assert [each.status for each in mounts] == [201] * len(image.blobs)


def test_a_token_that_lived_for_a_second_is_fetched_anew(street: Street, clients: Clients) -> None:
    case = next(case for case in CASES if case.door == "token" and case.source == "helper")
    street.tokens.lifetime_seconds = 1
    try:
        asked = len(street.tokens.requests)
        for number in range(2):
            image, over = build_image(f"short {number}"), time.monotonic() + 1
            clients.push("skopeo", image, f"{street.yard.registry}/{case.name}/short:{number}")
            outcome = street.yard.control("wait", {"target": f"{case.name}/short:{number}", "seconds": 25})
            assert outcome["state"] == "done", outcome
            assert street.registries[case].tagged("short", str(number)) == image.manifest.digest
            until(partial(_is_past, over), what="the token's life is over")
        assert len(street.tokens.requests) - asked >= 2
        assert all(each.granted for each in street.tokens.requests[asked:])
    finally:
        street.tokens.lifetime_seconds = 300


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


def verified(registry: DockerRegistry, digest: str) -> bytes:
    """What lies on the registry's disk under a digest, and hashes to it."""
    content = registry.kept(digest)
    assert content is not None, digest
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
    return content
