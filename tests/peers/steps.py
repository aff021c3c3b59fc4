"""The steps of a push to a registry, and of a pull from one, as a proxy between the two can tell them apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

NAMED = re.compile(
    r"/v2/(?P<repository>.+?)/(?P<kind>blobs/uploads|blobs|manifests|tags|referrers)/(?P<rest>[^/?]*)(?P<query>(\?.*)?)"
)


class Step(StrEnum):
    PING = "ping"
    TOKEN = "token"
    BLOB_HEAD = "blob head"
    BLOB_PROBE = "blob probe"
    BLOB_GET = "blob get"
    MOUNT = "mount"
    START = "start of an upload"
    PATCH = "patch"
    STATUS = "status of an upload"
    CLOSE = "close of an upload"
    PUT_BLOB = "put blob"
    CANCEL = "cancel of an upload"
    TAG_HEAD = "tag head"
    TAG_GET = "tag get"
    MANIFEST_HEAD = "manifest head"
    MANIFEST_GET = "manifest get"
    MANIFEST_PUT = "manifest put"
    TAG_PUT = "tag put"
    READ_BACK = "read-back"
    TAGS = "tags"
    REFERRERS = "referrers"
    OTHER = "other"


_UPLOADS = {"PATCH": Step.PATCH, "GET": Step.STATUS, "DELETE": Step.CANCEL}
_MANIFESTS = {"HEAD": Step.MANIFEST_HEAD, "GET": Step.MANIFEST_GET, "PUT": Step.MANIFEST_PUT}
_TAGS = {"HEAD": Step.TAG_HEAD, "GET": Step.TAG_GET, "PUT": Step.TAG_PUT}


class Steps:
    """Tells what a request is. A question for a tag that was put through here before is its read-back."""

    def __init__(self) -> None:
        self._put: set[str] = set()

    def of(self, method: str, path: str, headers: Mapping[str, str]) -> Step:
        """headers: their names in lower case."""
        found = NAMED.fullmatch(path)
        if found is None:
            plain = path.partition("?")[0]
            return Step.PING if plain in ("/v2", "/v2/") else Step.TOKEN if "token" in plain else Step.OTHER
        match found["kind"]:
            case "blobs/uploads":
                return self._upload(method, found["query"], headers)
            case "blobs":
                probes = headers.get("range") == "bytes=0-0"
                blobs = {"HEAD": Step.BLOB_HEAD, "GET": Step.BLOB_PROBE if probes else Step.BLOB_GET}
                return blobs.get(method, Step.OTHER)
            case "manifests":
                return self._manifest(method, path.partition("?")[0], found["rest"])
            case "tags":
                return Step.TAGS
            case _:
                return Step.REFERRERS

    def answered(self, step: Step, path: str, status: int) -> None:
        if step is Step.TAG_PUT and status == 201:
            self._put.add(path.partition("?")[0])

    def _upload(self, method: str, query: str, headers: Mapping[str, str]) -> Step:
        if method == "POST":
            return Step.MOUNT if "mount=" in query else Step.START
        if method == "PUT":
            return Step.CLOSE if headers.get("content-length", "") == "0" else Step.PUT_BLOB
        return _UPLOADS.get(method, Step.OTHER)

    def _manifest(self, method: str, path: str, reference: str) -> Step:
        if ":" in reference or "%3A" in reference.upper():
            return _MANIFESTS.get(method, Step.OTHER)
        if method in ("HEAD", "GET") and path in self._put:
            return Step.READ_BACK
        return _TAGS.get(method, Step.OTHER)
