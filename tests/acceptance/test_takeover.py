"""A Switchyard's data folder under `yarddesk serve`: taken over before requests are answered, its pending pushes synced."""

import os
import random
import re
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image, build_index
from tests.support.switchyard import SwitchyardFolder
from tests.support.waiting import until


def few_are_left(data: Path, most: int) -> bool:
    return len(list((data / "blobs" / "sha256").glob("?" * 64))) <= most


@pytest.mark.timeout(180)
def test_it_is_taken_over_through_kills_and_what_was_pending_is_synced(make_yarddesk, docker_registry):
    app = make_yarddesk(config=push_everything_to(docker_registry.host), started=False)
    old = SwitchyardFolder(app.data_dir)
    images = {f"v{number}": build_image(f"pending {number}", (200_000, 30_000)) for number in range(6)}
    index, done = build_index("pending index"), build_image("synced long ago")
    for tag, image in images.items():
        old.push("team/app", tag, image)
    old.push("team/both", "latest", index)
    old.push("team/app", "done", done, pending=False)
    outputs = []
    for moment in range(4):
        app.begin()
        # A quick disk may have ended it as the kill before came.
        app.wait_for_line("this is a Switchyard's data folder|listening on")
        until(partial(few_are_left, app.data_dir, 18 - 4 * moment), 30)
        app.kill()
        outputs.append(app.output())
    app.start()
    outputs.append(app.output())
    assert sum("this is a Switchyard's data folder" in said for said in outputs) > 1, (
        "a start went on with what a kill cut"
    )
    ended = [said for said in outputs if "is taken over" in said]
    # A kill may come between its end and the word of it; then the next start has nothing to take over.
    assert len(ended) == 1 or (not ended and "this is a Switchyard's data folder" not in outputs[-1])
    for said in ended:
        listening = said.find("listening on")
        assert listening < 0 or said.index("is taken over") < listening, said
    for tag, image in {**images, "done": done}.items():
        assert app.holds("team/app", tag, image), tag
    app.run("wait", "--timeout", "60", deadline_seconds=70)
    for tag, image in images.items():
        until(partial(docker_registry.holds, "team/app", tag, image), 30, f"{tag} upstream")
    assert docker_registry.holds("team/both", "latest", index)
    assert "done" not in docker_registry.tags("team/app"), "what was not pending is not sent again"
    assert not list((app.data_dir / "pending").rglob("*.json"))
    newer = build_image("newer")
    docker_registry.push("team/app", "done", newer)
    assert app.holds("team/app", "done", done), "what was not pending is ours until somebody wants the upstream's"
    app.run("pull", "team/app:done")
    assert app.holds("team/app", "done", newer)


def test_a_signal_meanwhile_ends_it_at_once_and_the_next_start_goes_on(make_yarddesk):
    app = make_yarddesk(started=False)
    image = build_image("small")
    old = SwitchyardFolder(app.data_dir)
    old.push("team/app", "v1", image, pending=False)
    large = app.data_dir / "blobs" / "sha256" / ("0" * 64)
    with large.open("wb") as file:
        os.truncate(file.fileno(), 60_000_000_000)  # a hole: it takes no room, and half a minute to hash
    app.begin()
    app.wait_for_line("this is a Switchyard's data folder")
    assert app.terminate(5) == 0
    assert not re.search("listening on|Traceback", app.output()), app.output()
    assert large.exists()
    large.write_bytes(random.Random(1).randbytes(1000))
    app.start()
    assert app.holds("team/app", "v1", image)
    assert not large.exists()
    assert [path.name.split("-")[0] for path in (app.data_dir / "quarantine").iterdir()] == ["blob"]
