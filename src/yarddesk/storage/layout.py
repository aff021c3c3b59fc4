"""Where things lie below DATA, and how names become file names that are safe on every file system.

blobs/sha256/ab/abcd…                       content by digest, shared by all repositories
manifests/REPOSITORY/_sha256/HEX            a manifest's bytes; HEX.type beside it: its media type
manifests/REPOSITORY/_tags/TAG              the digest that the tag names, as text
manifests/REPOSITORY/_referrers/sha256/HEX/sha256_HEX   the second manifest's subject is the first; empty
uploads/UUID                                an upload session's bytes; the UUID tells whose it is (see storage.upload_files)
quarantine/blob-sha256_HEX-TIME-ID          what didn't hash to its name (see storage.quarantine)
pending/REPOSITORY/REFERENCE.json           one queued sync
control.json, control.token, lock, run.json, reserve
takeover.json                               while a Switchyard's folder is made ours (see storage.takeover)
"""

import re
from collections.abc import Iterator
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import HEX_LENGTHS, Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag

BLOBS: Final = "blobs"
MANIFESTS: Final = "manifests"
UPLOADS: Final = "uploads"
PENDING: Final = "pending"
QUARANTINE: Final = "quarantine"
TYPE_SUFFIX: Final = ".type"
TEMPORARY_PREFIX: Final = "temporary-"
BESIDE_PREFIX: Final = ".tmp-"
"""Begins the name of a small file on its way to its place in the same folder; no repository's component and no tag begins so."""

RUN_FILE: Final = "run.json"
TAKEOVER_FILE: Final = "takeover.json"
LOCK_FILE: Final = "lock"
RESERVE_FILE: Final = "reserve"
CONTROL_FILE: Final = "control.json"
ALGORITHMS: Final = tuple(HEX_LENGTHS)

# Names of 250 bytes leave room for ".json" in the 255 that file systems take.
_MAX_ESCAPED: Final = 250
_MAX_PLAIN: Final = 255
_MAX_MASKED: Final = 128
_PLAIN: Final = re.compile(r"[a-z0-9._-]+", re.ASCII)
_TAG_LIKE: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_MASKED}}}", re.ASCII)
_DEVICE: Final = r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])"
_IS_DEVICE: Final = re.compile(rf"{_DEVICE}(?:\..*)?", re.ASCII | re.DOTALL)
_DIGEST_FILE: Final = re.compile(r"(sha256)_([0-9a-f]{64})|(sha512)_([0-9a-f]{128})", re.ASCII)
_LONG_DEVICE: Final = re.compile(rf"%({_DEVICE})(?![.])(.+)", re.ASCII)
_ESCAPE: Final = re.compile(rb"%([0-9A-F]{2})")
_JSON: Final = ".json"
_LONG_JSON: Final = "%j"

Parts = tuple[str, ...]
"""A folder below DATA, as the names that lead there."""


class NotOurFileName(ValueError):
    """A file name that `encode_component` or `encode_reference` never gives: a stranger's file."""


def encode_component(text: str) -> str:
    """The file name for one component of a repository's name, or for a tag; `decode_component` gives it back.

    Lower-case letters, digits and `._-` stand as they are; what else there is, a device's name (`con`, `nul`, `com1` …), an
    end in `.json`, a dot at the end and a tag that looks like a digest's file are percent-encoded (RFC 3986, upper-case
    digits). No two texts give names that are equal where case is ignored. Where this would be too long for a file system
    (only tags of some sixty capitals and names of some 250 characters come so far):

    - `%-` the text in lower case `-` a hexadecimal mask, whose bit N says that character N is a capital;
    - `%` a device's name without the dot after it, `%j` for `.json` at the end.

    Raises ValueError for a text that is empty or can't be a tag or component at all.
    """
    if not text:
        raise ValueError("there is no file name for nothing")
    escaped = _percent_encode(text)
    if escaped == text:
        return _within(text, _MAX_PLAIN)
    if len(escaped) <= _MAX_ESCAPED:
        return escaped
    if _TAG_LIKE.fullmatch(text):
        mask = sum(1 << index for index, character in enumerate(text) if character.isupper())
        return f"%-{text.lower()}-{mask:x}"
    if _PLAIN.fullmatch(text):
        return _within(_shorten(text), _MAX_PLAIN)
    raise ValueError(f"“{text[:80]}” is too long for a file name")


def decode_component(name: str) -> str:
    """What `encode_component` made `name` of. Raises NotOurFileName."""
    try:
        text = _decode(name)
        known = encode_component(text) == name
    except ValueError as error:
        raise NotOurFileName(name) from error
    if not known:
        raise NotOurFileName(name)
    return text


def encode_reference(reference: Reference) -> str:
    """The file name for a tag or digest: a digest's `:` as `_`, a tag as a component; at most 250 bytes."""
    if isinstance(reference, Digest):
        return f"{reference.algorithm}_{reference.hex}"
    return encode_component(reference)


def decode_reference(name: str) -> Reference:
    """What `encode_reference` made `name` of. Raises NotOurFileName."""
    match = _DIGEST_FILE.fullmatch(name)
    if match:
        return Digest.parse(f"{match[1] or match[3]}:{match[2] or match[4]}")
    try:
        return Tag.parse(decode_component(name))
    except YarddeskError as error:
        raise NotOurFileName(name) from error


def encode_repository(repository: RepositoryName) -> Parts:
    """The folders, one in the other, for a repository's name."""
    return tuple(encode_component(component) for component in repository.components)


def decode_repository(parts: Parts) -> RepositoryName:
    """Raises NotOurFileName."""
    try:
        return RepositoryName.parse("/".join(decode_component(part) for part in parts))
    except YarddeskError as error:
        raise NotOurFileName("/".join(parts)) from error


def blob_folder(digest: Digest) -> Parts:
    """Where a blob lies; its file's name is the digest's HEX."""
    return (BLOBS, digest.algorithm, digest.hex[:2])


def repository_folder(repository: RepositoryName) -> Parts:
    return (MANIFESTS, *encode_repository(repository))


def manifest_folder(repository: RepositoryName, algorithm: str) -> Parts:
    """Where manifests lie; `_` begins no component of a name, so a nested repository can't be meant."""
    return (*repository_folder(repository), f"_{algorithm}")


def tag_folder(repository: RepositoryName) -> Parts:
    return (*repository_folder(repository), "_tags")


def referrer_folder(repository: RepositoryName, subject: Digest) -> Parts:
    return (*repository_folder(repository), "_referrers", subject.algorithm, subject.hex)


def _percent_encode(text: str) -> str:
    is_special = _IS_DEVICE.fullmatch(text) or _DIGEST_FILE.fullmatch(text)
    if not is_special and not text.endswith((_JSON, ".")) and _PLAIN.fullmatch(text):
        return text  # nearly all are such
    plain_is_wrong = set()
    if is_special:
        plain_is_wrong.add(0)
    if text.endswith(_JSON):
        plain_is_wrong.add(len(text) - len(_JSON))
    if text.endswith("."):  # Windows drops it
        plain_is_wrong.add(len(text) - 1)
    return "".join(
        character if index not in plain_is_wrong and _PLAIN.fullmatch(character) else _escape(character)
        for index, character in enumerate(text)
    )


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _within(name: str, limit: int) -> str:
    if len(name) > limit:
        raise ValueError(f"“{name[:80]}…” is too long for a file name")
    return name


def _shorten(text: str) -> str:
    if _IS_DEVICE.fullmatch(text):
        device, _, rest = text.partition(".")
        text = f"%{device}{rest}"
    return text.removesuffix(_JSON) + _LONG_JSON if text.endswith(_JSON) else text


def _decode(name: str) -> str:
    if name.startswith("%-"):
        return _unmask(name)
    match = _LONG_DEVICE.fullmatch(name)
    if match or name.endswith(_LONG_JSON):
        text = f"{match[1]}.{match[2]}" if match else name
        return text.removesuffix(_LONG_JSON) + _JSON if text.endswith(_LONG_JSON) else text
    return _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), name.encode()).decode()


def _unmask(name: str) -> str:
    text, _, mask = name.removeprefix("%-").rpartition("-")
    capitals = int(mask, 16)
    return "".join(character.upper() if capitals >> index & 1 else character for index, character in enumerate(text))


def shard_folders(algorithm: str) -> Iterator[Parts]:
    """Every folder that blobs of an algorithm may lie in."""
    return ((BLOBS, algorithm, f"{number:02x}") for number in range(256))
