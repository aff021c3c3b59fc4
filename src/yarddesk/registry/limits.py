"""What one client may take of the server."""

import sys
from dataclasses import dataclass, replace
from typing import Final, Self

_DESCRIPTORS_WANTED: Final = 16_384
_DESCRIPTORS_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a connection and of a request; every time limit but the first two is one of progress, not of duration.

    `header_seconds`: from the first byte of a request (or the connection) to the end of its headers. `idle_seconds`: between
    two requests; longer than clients keep an unused connection (Go: 90 s), so that the client is the one who closes it.
    `body_stall_seconds`: within it, `body_stall_bytes` of a body must come while we wait for them. `write_stall_seconds`:
    within it, a reader must take something of what waits for it. `linger_seconds`: how long a refused body is still read
    and thrown away, so that the client sees the answer.
    """

    header_seconds: float = 10.0
    idle_seconds: float = 120.0
    body_stall_seconds: float = 60.0
    body_stall_bytes: int = 1024
    write_stall_seconds: float = 60.0
    linger_seconds: float = 5.0
    header_bytes: int = 32 * 1024
    header_count: int = 100
    target_bytes: int = 8 * 1024
    pipelined_requests: int = 64
    connections: int = 2048

    @property
    def watch_seconds(self) -> float:
        """How often the time limits are looked at."""
        shortest = min(
            self.header_seconds,
            self.idle_seconds,
            self.body_stall_seconds,
            self.write_stall_seconds,
            self.linger_seconds,
        )
        return min(1.0, shortest / 4)

    def for_this_process(self) -> Self:
        """No more connections than the process may have, after its own limit was raised as far as the system lets it."""
        if sys.platform == "win32":
            return self
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _DESCRIPTORS_WANTED:
            wanted = _DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_WANTED)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        # Each connection may need a file beside its socket; the store, the upstreams and the window need some too.
        room = max(16, (soft - _DESCRIPTORS_KEPT) // 2) if soft != resource.RLIM_INFINITY else self.connections
        return replace(self, connections=min(self.connections, room))
