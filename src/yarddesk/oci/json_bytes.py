"""JSON as it's written to files and connections."""

import json


def json_bytes(document: object) -> bytes:
    """Compact, in UTF-8. Half of a surrogate pair, which strangers' documents may hold and UTF-8 can't, stays escaped."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
