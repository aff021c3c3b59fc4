"""The error codes of the OCI distribution specification v1.1 ("Error codes") and the body that carries them."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """A code and, in `status`, the HTTP status that goes with it unless the case has one of its own."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    TAG_INVALID = "TAG_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    RANGE_INVALID = "RANGE_INVALID"
    UNAVAILABLE = "UNAVAILABLE"
    UNKNOWN = "UNKNOWN"

    @property
    def status(self) -> int:
        return _STATUS[self]


_STATUS = {
    ErrorCode.BLOB_UNKNOWN: 404,
    ErrorCode.BLOB_UPLOAD_INVALID: 400,
    ErrorCode.BLOB_UPLOAD_UNKNOWN: 404,
    ErrorCode.DIGEST_INVALID: 400,
    ErrorCode.MANIFEST_BLOB_UNKNOWN: 400,
    ErrorCode.MANIFEST_INVALID: 400,
    ErrorCode.MANIFEST_UNKNOWN: 404,
    ErrorCode.NAME_INVALID: 400,
    ErrorCode.NAME_UNKNOWN: 404,
    ErrorCode.SIZE_INVALID: 400,
    ErrorCode.TAG_INVALID: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.DENIED: 403,
    ErrorCode.UNSUPPORTED: 405,
    ErrorCode.TOOMANYREQUESTS: 429,
    ErrorCode.RANGE_INVALID: 416,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.UNKNOWN: 500,
}


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """One entry of an error body, as a registry sent it."""

    code: str
    message: str = ""
    detail: Any = None


def render_errors(*errors: ErrorInfo) -> bytes:
    """The JSON body."""
    entries = []
    for error in errors:
        entry: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.detail is not None:
            entry["detail"] = error.detail
        entries.append(entry)
    return json.dumps({"errors": entries}).encode()


def parse_errors(body: bytes) -> tuple[ErrorInfo, ...]:
    """What a registry said of an error; nothing when the body is not of the specification's form."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    listed = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return ()
    return tuple(
        ErrorInfo(str(entry.get("code") or "UNKNOWN"), str(entry.get("message") or ""), entry.get("detail"))
        for entry in listed
        if isinstance(entry, dict)
    )
