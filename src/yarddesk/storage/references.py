"""Which content manifests name, found in their bytes without reading them as JSON: a blob too many is named rather than one too few."""

import re
from collections.abc import Iterator
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.media_types import ALL_MANIFESTS

_DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})|sha512:([0-9a-f]{128})")
_ESCAPE: Final = re.compile(rb"\\u00([0-7][0-9a-fA-F])")

Packed = bytes
"""A digest as its bare bytes, 32 or 64; so 100,000 of them in a set take some 12 MB."""


def packed(digest: Digest) -> Packed:
    return bytes.fromhex(digest.hex)


def needs(manifest: Manifest, digest: Digest) -> bool:
    """Whether a manifest needs this content; one of a type that isn't known to us needs whatever it mentions."""
    if manifest.media_type in ALL_MANIFESTS:
        return manifest.names(digest)
    return packed(digest) in named_in(manifest.content)


def named_in(content: bytes) -> Iterator[Packed]:
    """Every digest that stands in a document, however JSON spells it."""
    if b"\\u" in content:
        content = _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), content)
    for match in _DIGEST.finditer(content):
        yield bytes.fromhex((match[1] or match[2]).decode())
