"""Digests (OCI image specification v1.1, descriptor.md, "Digests")."""

import hashlib
import re
from typing import Final, Protocol, Self

from yarddesk.errors import YarddeskError

HEX_LENGTHS: Final = {"sha256": 64, "sha512": 128}
"""The algorithms that are known here, and how many digits their digests have."""

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


class InvalidDigest(YarddeskError):
    """Not a digest, or one of an algorithm that yarddesk doesn't know."""


class Hasher(Protocol):
    """What hashlib's objects offer and we use."""

    def update(self, piece: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Self: ...


class Digest(str):
    """`ALGORITHM:HEX`, sha256 or sha512, lower case. Only `parse` and `of` make one, so it's safe as part of a path."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidDigest."""
        algorithm, _, encoded = text.partition(":")
        length = HEX_LENGTHS.get(algorithm)
        if length is None or len(encoded) != length or not _HEX.fullmatch(encoded):
            raise InvalidDigest(
                f"“{text[:160]}” is not a digest.",
                hint="A digest reads sha256: and 64, or sha512: and 128, hexadecimal digits.",
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `content`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve digits, as people compare them."""
        return self.hex[:12]

    def hasher(self) -> Hasher:
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Whether `content` hashes to this digest."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.hex
