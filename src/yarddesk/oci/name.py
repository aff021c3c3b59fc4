"""Repository names, tags and references (OCI distribution specification v1.1, "Pulling manifests")."""

import re
from dataclasses import dataclass
from typing import Self

from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_ABOUT = re.compile(r"(sha256|sha512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?")
_KINDS_ABOUT = ("", ".sig", ".att", ".sbom")
_MAX_NAME_LENGTH = 255
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class InvalidName(YarddeskError):
    """Not a repository name."""


class InvalidTag(YarddeskError):
    """Not a tag."""


class RepositoryName(str):
    """A name as the specification's grammar has it, at most 255 characters. Only `parse` makes one."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidName."""
        if len(text) > _MAX_NAME_LENGTH or not _NAME.fullmatch(text):
            raise InvalidName(
                f"“{text[:160]}” is not a repository name.",
                hint="Lower-case letters and digits, with . _ __ or - between them, components separated by /, 255 characters.",
            )
        return cls(text)

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(self.split("/"))


class Tag(str):
    """A tag as the specification's grammar has it, at most 128 characters. Only `parse` makes one."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidTag."""
        if not _TAG.fullmatch(text):
            raise InvalidTag(
                f"“{text[:160]}” is not a tag.",
                hint="Letters, digits, _ . and -, not . or - first, 128 characters at most.",
            )
        return cls(text)


Reference = Tag | Digest


def referrers_tag(digest: Digest) -> Tag:
    """Where clients keep a digest's referrers if a registry doesn't list them (distribution specification, "Referrers tag schema")."""
    return Tag.parse(f"{digest.algorithm[:32]}-{digest.hex[:64]}")


def is_about(tag: Tag) -> bool:
    """Whether it's such a tag, or one of those under which cosign keeps a digest's signature, attestations and SBOM."""
    return _ABOUT.fullmatch(tag) is not None


def tags_about(digest: Digest) -> list[Tag]:
    """All of these that a digest may have."""
    tag = referrers_tag(digest)
    return [Tag(f"{tag}{kind}") for kind in _KINDS_ABOUT]


def parse_reference(text: str) -> Reference:
    """A digest where there is a colon, else a tag. Raises InvalidDigest or InvalidTag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """REPOSITORY[:TAG|@DIGEST] as people write it; without a reference it means every tag of the repository."""

    repository: RepositoryName
    reference: Reference | None = None

    @classmethod
    def parse(cls, text: str, our_addresses: tuple[str, ...] = ()) -> Self:
        """Parse `[HOST:PORT/]REPOSITORY[:TAG|@DIGEST]`; a leading address of ours is stripped.

        Raises InvalidName, InvalidTag or InvalidDigest.
        """
        rest = text
        first, slash, remainder = text.partition("/")
        if slash and (first in our_addresses or is_loopback(first)):
            rest = remainder
        name, at, digest = rest.partition("@")
        if at:
            return cls(RepositoryName.parse(name), Digest.parse(digest))
        head, colon, tag = rest.rpartition(":")
        if colon and "/" not in tag:
            return cls(RepositoryName.parse(head), Tag.parse(tag))
        return cls(RepositoryName.parse(rest))

    def __str__(self) -> str:
        return format_reference(self.repository, self.reference)


def format_reference(repository: RepositoryName, reference: Reference | None) -> str:
    """`REPOSITORY:TAG`, `REPOSITORY@DIGEST` or the bare repository."""
    if reference is None:
        return str(repository)
    return f"{repository}{'@' if isinstance(reference, Digest) else ':'}{reference}"


def is_loopback(text: str) -> bool:
    """Whether it's `HOST:PORT` of this machine."""
    host, colon, port = text.rpartition(":")
    return bool(colon) and host in _LOOPBACK_HOSTS and port.isdecimal()
