"""SIGKILL at moments spread over push and sync: what got its 201 is there after the restart and reaches the upstream."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import Image, build_image
from tests.support.waiting import until

MOMENTS = 20
REPOSITORY = "team/app"
TRAFFIC_SECONDS = 1.6  # about what three pushes and their syncs take, so that the moments fall into all of it


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["serve", "desktop"])
def test_no_push_that_got_its_201_is_lost_by_twenty_kills(make_yarddesk, docker_registry, desktop, mode):
    config = push_everything_to(docker_registry.host)
    app = make_yarddesk(mode=mode, config=config, environment=desktop.environment)
    moments = random.Random(2).sample(range(MOMENTS), MOMENTS)
    acknowledged: dict[str, Image] = {}
    attempted = 0
    for moment in moments:
        with killed_after(app, 0.02 + TRAFFIC_SECONDS * moment / MOMENTS) as killed:
            for _ in range(40):
                tag, image = f"v{attempted}", build_image(f"kill {attempted}", (700_000, 60_000, 9_000))
                attempted += 1
                try:
                    app.push(REPOSITORY, tag, image)
                except OSError:
                    if not killed.is_set():
                        raise
                    break
                acknowledged[tag] = image
        app.start()
        for tag, image in acknowledged.items():
            assert app.manifest(REPOSITORY, tag) == image.manifest, tag
    assert len(acknowledged) >= MOMENTS / 2
    app.run("retry", "--all")
    app.run("wait", "--timeout", "120", deadline_seconds=130)
    for tag, image in acknowledged.items():
        assert app.holds(REPOSITORY, tag, image), tag
        until(partial(docker_registry.holds, REPOSITORY, tag, image), 60, f"{tag} upstream")
    assert not list((app.data_dir / "pending").rglob("*.json"))


@contextmanager
def killed_after(process, seconds: float) -> Iterator[threading.Event]:
    """SIGKILL that many seconds from now, whatever goes on; the event tells that it came. Back when the process is dead."""
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield killed
    finally:
        timer.join()
