"""One repository, however clients spell it: with its prefix, by a mirror's path, with `ns`, with or without `library/`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from tests.support.lonely_registry import NoUpstreams, Pushes
from tests.unit.registry.pushing import codes, manifest_without_blobs, push_blob, put_manifest
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.memory import MemoryStore

BARE = manifest_without_blobs()


class HubAndGhcr:
    """Docker Hub under `hub` (pull only), ghcr.io under `mirror/ghcr`, which takes pushes, registry.k8s.io under its own name."""

    PREFIXES = {  # noqa: RUF012
        "docker.io": "hub",
        "hub": "hub",
        "ghcr.io": "mirror/ghcr",
        "mirror/ghcr": "mirror/ghcr",
        "registry.k8s.io": "registry.k8s.io",
    }

    def __init__(self) -> None:
        self.asked: list[str] = []

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        if repository.startswith("hub/") and repository.count("/") == 1:
            return RepositoryName.parse(repository.replace("hub/", "hub/library/"))
        return repository

    def prefix_of(self, namespace: str) -> str | None:
        self.asked.append(namespace)
        return self.PREFIXES.get(namespace.strip().lower())

    def push_upstreams(self, repository: RepositoryName) -> Sequence[object]:
        return ["ghcr"] if repository.startswith("mirror/ghcr/") else []


@pytest.fixture
def names() -> HubAndGhcr:
    return HubAndGhcr()


@pytest.fixture
async def server(names: HubAndGhcr) -> AsyncIterator[EmbeddedServer]:
    store = MemoryStore()
    app = RegistryApp(store, NoUpstreams(store), Pushes(), names=names)
    async with EmbeddedServer(Guard(app), port=0) as running:
        yield running


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False) as http:
        yield http


@pytest.mark.parametrize("name", ["hub/nginx", "hub/library/nginx"])
@pytest.mark.parametrize(
    ("url", "namespace"),
    [
        ("/v2/hub/nginx/manifests/v1", None),
        ("/v2/hub/library/nginx/manifests/v1", None),
        ("/hub/v2/library/nginx/manifests/v1", None),
        ("/hub/v2/nginx/manifests/v1", None),
        ("/v2/library/nginx/manifests/v1?ns=docker.io", "docker.io"),
        ("/v2/nginx/manifests/v1?ns=docker.io", "docker.io"),
        ("/v2/nginx/manifests/v1?ns=hub", "hub"),
    ],
)
async def test_every_spelling_is_one_repository(
    client: httpx.AsyncClient, name: str, url: str, namespace: str | None
) -> None:
    assert (await put_manifest(client, name, "v1", BARE)).status_code == 201
    for method in ("GET", "HEAD"):
        answer = await client.request(method, url)
        assert answer.status_code == 200
        assert answer.headers.get("oci-namespace") == namespace
    assert (await client.get("/v2/_catalog")).json() == {"repositories": ["hub/library/nginx"]}


async def test_a_prefix_of_several_components_is_a_mirror_too(client: httpx.AsyncClient) -> None:
    await put_manifest(client, "mirror/ghcr/app", "v1", BARE)
    assert (await client.get("/mirror/ghcr/v2/app/manifests/v1")).content == BARE.content
    assert (await client.get("/v2/app/manifests/v1?ns=ghcr.io")).content == BARE.content


async def test_a_registry_s_own_prefix_counts_once_where_a_client_says_both_it_and_ns(
    client: httpx.AsyncClient,
) -> None:
    await put_manifest(client, "registry.k8s.io/app", "v1", BARE)
    for path in ("app", "registry.k8s.io/app"):
        answer = await client.get(f"/v2/{path}/manifests/v1?ns=registry.k8s.io")
        assert (answer.content, answer.headers.get("oci-namespace")) == (BARE.content, "registry.k8s.io")
    await put_manifest(client, "hub/hub/app", "v1", BARE)
    assert (await client.get("/v2/hub/app/manifests/v1?ns=docker.io")).content == BARE.content, "it may be called so"


async def test_what_is_pushed_here_never_answers_for_another_registry(client: httpx.AsyncClient) -> None:
    await put_manifest(client, "library/nginx", "v1", BARE)
    for url in ("/v2/library/nginx/manifests/v1?ns=docker.io", "/hub/v2/library/nginx/manifests/v1"):
        assert (await client.get(url)).status_code == 404


@pytest.mark.parametrize("url", ["/hub/v2/", "/hub/v2", "/mirror/ghcr/v2/", "/v2/?ns=docker.io"])
async def test_the_base_of_a_mirror_is_that_of_a_registry(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(url)
    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize(
    "namespace", ["quay.io", "evil.example", "docker.io:444", "docker.io\r\nX: y", "169.254.1.1", "../x"]
)
async def test_a_registry_that_is_no_upstream_is_404(client: httpx.AsyncClient, namespace: str) -> None:
    await put_manifest(client, "app", "v1", BARE)
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await client.request(method, "/v2/app/manifests/v1", params={"ns": namespace})
        assert answer.status_code == 404
        assert "oci-namespace" not in answer.headers
    assert codes(await client.get("/v2/app/manifests/v1", params={"ns": namespace})) == ["NAME_UNKNOWN"]


async def test_our_own_address_is_no_other_registry(client: httpx.AsyncClient, server: EmbeddedServer) -> None:
    await put_manifest(client, "app", "v1", BARE)
    for host in ("localhost", "127.0.0.1", "[::1]", "LocalHost"):
        answer = await client.get(f"/v2/app/manifests/v1?ns={host}:{server.port}")
        assert (answer.status_code, answer.headers.get("oci-namespace")) == (200, None)
    assert (await client.get("/v2/app/manifests/v1?ns=")).status_code == 200
    assert (await client.get("/v2/app/manifests/v1?ns=localhost:1")).status_code == 404
    named = {"Host": f"host.docker.internal:{server.port}"}
    url = f"/v2/app/manifests/v1?ns=host.docker.internal:{server.port}"
    assert (await client.get(url, headers=named)).status_code == 200


async def test_a_write_with_ns_is_a_push_where_that_route_pushes(client: httpx.AsyncClient) -> None:
    answer = await put_manifest(client, "app", "v1", BARE, params={"ns": "ghcr.io"})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v2/mirror/ghcr/app/manifests/{BARE.digest}"
    answer = await client.post("/v2/app/blobs/uploads/", params={"ns": "ghcr.io"})
    assert answer.headers["location"].startswith("/v2/mirror/ghcr/app/blobs/uploads/")
    for method, path in (("PUT", "manifests/v1"), ("POST", "blobs/uploads/"), ("DELETE", "manifests/v1")):
        answer = await client.request(method, f"/v2/app/{path}", params={"ns": "docker.io"}, content=b"{}")
        assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])


async def test_blobs_and_tags_are_found_through_mirrors(client: httpx.AsyncClient) -> None:
    digest = await push_blob(client, "anything", b"content")
    await put_manifest(client, "hub/nginx", "v1", BARE)
    assert (await client.get(f"/hub/v2/nginx/blobs/{digest}")).content == b"content"
    assert (await client.get("/v2/nginx/tags/list?ns=docker.io")).json()["tags"] == ["v1"]


@pytest.mark.parametrize("url", ["/other/v2/app/manifests/v1", "/v2x/", "/hub/v2x/", "/hub%2fv2/", "//v2/"])
async def test_what_no_prefix_leads_to_is_nothing(client: httpx.AsyncClient, url: str) -> None:
    raw = client.base_url.copy_with(raw_path=url.encode())
    assert (await client.get(raw)).status_code == 404


async def test_a_component_called_v2_is_part_of_a_name(client: httpx.AsyncClient, names: HubAndGhcr) -> None:
    await put_manifest(client, "hub/v2/app", "v1", BARE)
    assert (await client.get("/v2/hub/v2/app/manifests/v1")).content == BARE.content
    assert names.asked == []
