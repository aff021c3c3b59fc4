"""A plain client of any registry, for putting images there and for looking at what is there, byte by byte."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Content, Graph

# No proxy of the machine's stands between a test and its loopback peer.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RegistryClient:
    """Requests to the registry at `url` (http://HOST:PORT); credentials: (name, password), or None for nobody."""

    def __init__(self, url: str, credentials: tuple[str, str] | None = None) -> None:
        self.url = url
        self.credentials = credentials

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Message, bytes]:
        """Status, headers and body; path: below the registry, or a whole URL as a Location has it."""
        address = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(address, data=body, method=method, headers=dict(headers or {}))
        if self.credentials:
            request.add_header(
                "Authorization", "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
            )
        try:
            with _direct.open(request, timeout=30) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def manifest(self, repository: str, reference: str) -> Content | None:
        """The manifest as it lies there, or None."""
        accept = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
        path = f"/v2/{repository}/manifests/{reference}"
        status, headers, body = self.request("GET", path, headers={"Accept": accept})
        return Content(headers["Content-Type"], body) if status == 200 else None

    def blob(self, repository: str, digest: str) -> bytes | None:
        """A blob's bytes, or None."""
        status, _, body = self.request("GET", f"/v2/{repository}/blobs/{digest}")
        return body if status == 200 else None

    def holds(self, repository: str, reference: str, content: Graph) -> bool:
        """Whether the whole image can be read from it, byte for byte."""
        if self.manifest(repository, reference) != content.manifest:
            return False
        children = all(self.manifest(repository, child.digest) == child for child in content.manifests[:-1])
        return children and all(self.blob(repository, blob.digest) == blob.content for blob in content.blobs)

    def tags(self, repository: str) -> list[str]:
        status, _, body = self.request("GET", f"/v2/{repository}/tags/list")
        return list(json.loads(body)["tags"] or ()) if status == 200 else []

    def push(self, repository: str, tag: str, content: Graph) -> None:
        """Put an image there, blobs first and the tag last."""
        for blob in content.blobs:
            self.push_blob(repository, blob)
        for manifest in content.manifests:
            reference = tag if manifest is content.manifest else manifest.digest
            headers = {"Content-Type": manifest.media_type}
            path = f"/v2/{repository}/manifests/{reference}"
            status, _, body = self.request("PUT", path, manifest.content, headers)
            assert status == 201, f"{path}: {status} {body!r}"

    def push_blob(self, repository: str, blob: Content) -> None:
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, f"{status} {body!r}"
        location = headers["Location"]
        join = "&" if "?" in location else "?"
        octets = {"Content-Type": "application/octet-stream"}
        status, _, body = self.request("PUT", f"{location}{join}digest={blob.digest}", blob.content, octets)
        assert status == 201, f"{blob.digest}: {status} {body!r}"
