"""How things are written on the wire: headers of every answer, query parameters, and which error is which status."""

import re
from dataclasses import dataclass
from math import ceil
from typing import Final

from yarddesk.content.errors import StorageFull
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamNotAsked,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUntrusted,
)
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import InvalidDigest
from yarddesk.oci.error_codes import ErrorCode, ErrorInfo
from yarddesk.oci.manifest import InvalidManifest
from yarddesk.oci.name import InvalidName, InvalidTag
from yarddesk.registry.intake import BlobsMissing

Header = tuple[bytes, bytes]

JSON_TYPE: Final = b"application/json"

SECURITY_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer. What clients push has a media type of their choice, and no browser shall run or embed it."""

STANDING_HEADERS: Final[tuple[Header, ...]] = (
    (b"docker-distribution-api-version", b"registry/2.0"),
    *SECURITY_HEADERS,
)
"""On every answer of the registry."""

_COME_AGAIN: Final[tuple[Header, ...]] = ((b"retry-after", b"60"),)
"""With a 429 whose upstream doesn't say how long to wait: clients that are told nothing ask again at once."""

_MOST_NAMED: Final = 100
"""Missing blobs that an answer names: a manifest may lack tens of thousands."""

STALE: Final[Header] = (b"warning", b'110 - "Response is Stale"')


class Refused(YarddeskError):
    """The request can't be done, for a reason that lies in the request; `code`, `status` and `errors` say how it is answered."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        headers: tuple[Header, ...] = (),
        errors: tuple[ErrorInfo, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or code.status
        self.headers = headers
        self.errors = errors or (ErrorInfo(code, message),)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an error is answered."""

    status: int
    errors: tuple[ErrorInfo, ...]
    headers: tuple[Header, ...] = ()


def outcome_of(error: YarddeskError, not_found: ErrorCode = ErrorCode.NAME_UNKNOWN) -> Outcome:
    """Which status and code an error is; `not_found` is what it means here that something is not there."""
    if isinstance(error, Refused):
        return Outcome(error.status, error.errors, error.headers)
    if isinstance(error, UpstreamFailure):
        return _upstream_outcome(error)
    if isinstance(error, BlobsMissing):
        return _blobs_missing(error)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return _plain(code.status, code, str(error))
    if isinstance(error, NotFound):
        return _plain(not_found.status, not_found, str(error))
    if isinstance(error, StorageFull):
        return _plain(507, ErrorCode.UNAVAILABLE, str(error))
    return _plain(503 if error.temporary else 500, ErrorCode.UNKNOWN, str(error))


def _plain(status: int, code: ErrorCode, message: str, headers: tuple[Header, ...] = ()) -> Outcome:
    return Outcome(status, (ErrorInfo(code, message),), headers)


def _blobs_missing(error: BlobsMissing) -> Outcome:
    code = ErrorCode.MANIFEST_BLOB_UNKNOWN
    unknown = (
        ErrorInfo(
            code,
            f"The blob {blob.digest} is not here.",
            {"digest": blob.digest, "mediaType": blob.media_type, "size": blob.size},
        )
        for blob in error.blobs[:_MOST_NAMED]
    )
    return Outcome(code.status, tuple(unknown))


_CODES: Final[tuple[tuple[type[YarddeskError], ErrorCode], ...]] = (
    (InvalidName, ErrorCode.NAME_INVALID),
    (InvalidTag, ErrorCode.TAG_INVALID),
    (InvalidDigest, ErrorCode.DIGEST_INVALID),
    (DigestMismatch, ErrorCode.DIGEST_INVALID),
    (InvalidManifest, ErrorCode.MANIFEST_INVALID),
)


def _upstream_outcome(error: UpstreamFailure) -> Outcome:
    message = str(error)
    if not re.search(rf"(?<![\w./:-]){re.escape(error.upstream)}(?![\w/-]|[.:]\w)", message):
        message = f"{error.upstream}: {message}"
    headers: tuple[Header, ...] = ()
    if error.retry_after_seconds is not None:
        headers = ((b"retry-after", b"%d" % max(0, ceil(error.retry_after_seconds))),)
    if isinstance(error, UpstreamDenied):
        return _plain(403, ErrorCode.DENIED, message)
    if isinstance(error, UpstreamTrouble) and error.status == 429:
        return _plain(429, ErrorCode.TOOMANYREQUESTS, message, headers or _COME_AGAIN)
    if isinstance(error, UpstreamNotAsked):
        return _plain(503, ErrorCode.UNAVAILABLE, message, headers)
    if isinstance(error, UpstreamTimeout | UpstreamStalled):
        return _plain(504, ErrorCode.UNAVAILABLE, message)
    if isinstance(error, UpstreamAway | UpstreamBroken | UpstreamUntrusted):
        return _plain(502, ErrorCode.UNAVAILABLE, message)
    return _plain(502, ErrorCode.UNKNOWN, message)
