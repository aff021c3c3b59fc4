"""SIGKILL at moments spread over push and sync: what got its 201 is there after the restart and reaches the upstream."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.settings import push_everything_to
from tests.support.images import Image, build_image
from tests.support.waiting import until

MOMENTS = 20
REPOSITORY = "team/app"
TRAFFIC_SECONDS = 1.6  # about what three pushes and their syncs take, so that the moments fall into all of it


def test_no_push_that_got_its_201_is_lost_by_twenty_kills(make_yarddesk, docker_registry):
    serve = make_yarddesk(config=push_everything_to(docker_registry.host))
    moments = random.Random(2).sample(range(MOMENTS), MOMENTS)
    acknowledged: dict[str, Image] = {}
    attempted = 0
    for moment in moments:
        with killed_after(serve, 0.02 + TRAFFIC_SECONDS * moment / MOMENTS):
            for _ in range(40):
                tag, image = f"v{attempted}", build_image(f"kill {attempted}", (700_000, 60_000, 9_000))
                attempted += 1
                try:
                    serve.push(REPOSITORY, tag, image)
                except (OSError, AssertionError, ConnectionError):
                    if serve.running:
                        raise
                    break
                acknowledged[tag] = image
        serve.start()
        for tag, image in acknowledged.items():
            assert serve.manifest(REPOSITORY, tag) == image.manifest, tag
    assert len(acknowledged) >= MOMENTS / 2
    serve.run("retry", "--all")
    serve.run("wait", "--timeout", "120", deadline_seconds=130)
    for tag, image in acknowledged.items():
        assert serve.holds(REPOSITORY, tag, image), tag
        until(lambda tag=tag, image=image: docker_registry.holds(REPOSITORY, tag, image), 60, f"{tag} upstream")
    assert not list((serve.data_dir / "pending").rglob("*.json"))


@contextmanager
def killed_after(process, seconds: float) -> Iterator[None]:
    """SIGKILL that many seconds from now, whatever goes on; back when it's dead."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    started = time.monotonic()
    try:
        yield
    finally:
        timer.join(max(0.0, seconds - (time.monotonic() - started)) + 10)
