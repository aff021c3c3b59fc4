"""Deleting a proof from the registry (OCI distribution specification v1.1, "Content Management")."""

import http.client
import json
import ssl
from typing import Any, Final

from yarddesk.engines.model import RegistryAddress

_LIMIT_SECONDS: Final = 20.0
_MAX_MANIFEST_BYTES: Final = 1024 * 1024
_ACCEPT: Final = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def delete_from_registry(address: RegistryAddress, repository: str, tag: str) -> bool:
    """Delete a tag with its manifest and blobs; blocks. False where the registry doesn't let them be deleted.

    What is not there counts as deleted. Raises OSError, http.client.HTTPException when the registry can't be asked.
    """
    status, headers, body = _request(address, "GET", f"/v2/{repository}/manifests/{tag}")
    if status == 404:
        return True
    if status != 200:
        return False
    digest = headers.get("Docker-Content-Digest", "")
    blobs = _blobs(body)
    _request(address, "DELETE", f"/v2/{repository}/manifests/{tag}")
    gone = not digest or _delete(address, f"/v2/{repository}/manifests/{digest}")
    # A blob may be in use by another image; then the registry keeps it, and rightly.
    for blob in blobs if gone else ():
        _request(address, "DELETE", f"/v2/{repository}/blobs/{blob}")
    return gone


def _delete(address: RegistryAddress, path: str) -> bool:
    status, _, _ = _request(address, "DELETE", path)
    return status in (200, 202, 404)


def _blobs(manifest: bytes) -> list[str]:
    try:
        document: Any = json.loads(manifest)
        descriptors = [document["config"], *document["layers"]]
        return [str(descriptor["digest"]) for descriptor in descriptors]
    except (ValueError, KeyError, TypeError):
        return []


def _request(address: RegistryAddress, method: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    host = address.host.strip("[]")
    connection: http.client.HTTPConnection
    if address.tls:
        # The engine, too, takes the certificate unchecked; what is deleted is our own, and no secret is sent.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, address.port, timeout=_LIMIT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, address.port, timeout=_LIMIT_SECONDS)
    try:
        connection.request(method, path, headers={"Accept": _ACCEPT})
        response = connection.getresponse()
        return response.status, response.headers, response.read(_MAX_MANIFEST_BYTES)
    finally:
        connection.close()
