"""The signature of a request to AWS ("Signature Version 4", AWS General Reference)."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import httpx

from yarddesk.content.credentials import AwsKeys

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


def signed(
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    body: bytes,
    keys: AwsKeys,
    *,
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """The request's headers with those that sign it. `url` has no query, and a path that needs no encoding; `now` is in UTC."""
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    own = {**headers, "X-Amz-Date": moment}
    if keys.session_token:
        own["X-Amz-Security-Token"] = keys.session_token.reveal()
    lines = {name.lower(): " ".join(value.split()) for name, value in own.items()} | {
        "host": url.netloc.decode("ascii")
    }
    names = ";".join(sorted(lines))
    canonical = "".join(f"{name}:{lines[name]}\n" for name in sorted(lines))
    request = f"{method}\n{url.path or '/'}\n\n{canonical}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_key.reveal()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{keys.access_key}/{scope}"
    own["Authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return own
