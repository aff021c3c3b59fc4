"""Link headers for paging (RFC 8288; OCI distribution specification v1.1, "Listing tags")."""

import re

_NEXT = re.compile(r'<([^<>]*)>\s*;[^,<]*\brel\s*=\s*"?next"?', re.IGNORECASE)


def next_link(header: str) -> str | None:
    """The target of the first link with rel="next"."""
    match = _NEXT.search(header)
    return match[1] if match else None


def render_next(target: str) -> str:
    """The header's value that names the next page."""
    return f'<{target}>; rel="next"'
