"""Which of an index's manifests are for a platform (image specification, "image-index"; the names are Go's)."""

from collections.abc import Sequence
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor, Platform

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "powerpc64le": ("ppc64le", ""),
}
_BY_ITSELF: Final = {("arm64", "v8"): "", ("arm", ""): "v7"}
"""Variants that go without saying, and what goes without saying for a variant that is not said."""

_UNKNOWN: Final = "unknown"
_ATTESTS: Final = "vnd.docker.reference.digest"


def parse_platform(text: str) -> Platform:
    """`OS/ARCHITECTURE[/VARIANT]`, the architecture also as `uname -m` has it. Raises YarddeskError."""
    parts = text.strip().lower().split("/")
    if not 2 <= len(parts) <= 3 or not all(part.isascii() and part for part in parts):
        raise YarddeskError(
            f"“{text[:80]}” is not a platform.", hint="One reads linux/amd64 or linux/arm/v7; or say all."
        )
    system, machine, *variant = parts
    architecture, usual = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(architecture, system, variant[0] if variant else usual)


def for_platform(children: Sequence[Descriptor], wanted: Platform) -> list[Descriptor]:
    """Those of the platform, and what attests to them. Without its very variant, the highest below it."""
    fitting = [
        child
        for child in children
        if child.platform is not None
        and (child.platform.os, child.platform.architecture) == (wanted.os, wanted.architecture)
    ]
    said = _variant(wanted)
    exact = [child for child in fitting if _of(child) == said]
    if not exact:
        below = [child for child in fitting if _of(child) < said or not said]
        highest = max((_of(child) for child in below), default="")
        exact = [child for child in below if _of(child) == highest]
    about = {child.digest for child in exact}
    return exact + [child for child in children if is_attestation(child) and child.annotations.get(_ATTESTS) in about]


def is_attestation(child: Descriptor) -> bool:
    """Whether it's for no platform, but about another manifest of the index."""
    return child.platform is not None and child.platform.os == _UNKNOWN


def is_for_any(child: Descriptor) -> bool:
    """Whether the index says of no platform that it's for."""
    return child.platform is None


def _of(child: Descriptor) -> str:
    return _variant(child.platform) if child.platform is not None else ""


def _variant(platform: Platform) -> str:
    return _BY_ITSELF.get((platform.architecture, platform.variant), platform.variant)
