"""Which resource a request is for, read from the raw path: nothing is decoded but `%3A`, so nothing can hide in it."""

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.wire import Refused


class Resource(Enum):
    """The kinds of things below `/v2/` (OCI distribution specification v1.1, "Endpoints")."""

    BASE = auto()
    CATALOG = auto()
    BLOB = auto()
    UPLOADS = auto()
    UPLOAD = auto()
    MANIFEST = auto()
    TAGS = auto()
    REFERRERS = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """`name` is a repository's (empty where there is none); `rest` is what follows it: reference, digest or upload id, unread."""

    resource: Resource
    name: RepositoryName
    rest: str = ""


_NO_NAME: Final = RepositoryName("")


def is_registry_path(raw_path: bytes) -> bool:
    """Whether it's `/v2` or below."""
    return raw_path.startswith(b"/v2/") or raw_path == b"/v2"


def parse_path(raw_path: bytes) -> Route:
    """The resource that a path below `/v2/` names. Raises Refused or InvalidName."""
    match _plain(raw_path).split("/")[2:]:
        case [] | [""]:
            return Route(Resource.BASE, _NO_NAME)
        case ["_catalog"]:
            return Route(Resource.CATALOG, _NO_NAME)
        case [*name, "tags", "list"]:
            return Route(Resource.TAGS, _name(name))
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return Route(Resource.UPLOADS, _name(name))
        case [*name, "blobs", "uploads", upload_id]:
            return Route(Resource.UPLOAD, _name(name), upload_id)
        case [*name, "manifests", reference]:
            return Route(Resource.MANIFEST, _name(name), reference)
        case [*name, "blobs", digest]:
            return Route(Resource.BLOB, _name(name), digest)
        case [*name, "referrers", digest]:
            return Route(Resource.REFERRERS, _name(name), digest)
    raise Refused(ErrorCode.UNSUPPORTED, "There is nothing of that name below /v2/.", status=404)


def _plain(raw_path: bytes) -> str:
    # Some HTTP libraries write the colon of a digest as %3A. No name, tag or digest needs another escape.
    plain = raw_path.replace(b"%3A", b":").replace(b"%3a", b":")
    if b"%" in plain or not plain.isascii():
        raise Refused(ErrorCode.NAME_INVALID, "The path holds an escape that no name, tag or digest needs.")
    return plain.decode("ascii")


def _name(components: list[str]) -> RepositoryName:
    return _one_name("/".join(components))


# Whoever remembers the names of a repository's thousand tags has its own name once.
_one_name = lru_cache(maxsize=512)(RepositoryName.parse)
