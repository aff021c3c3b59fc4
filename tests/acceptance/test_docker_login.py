"""`docker login` beside a running instance: what waits for credentials goes on by itself."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.settings import push_everything_to
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until


def write_config(folder: Path, registry: str, password: str) -> None:
    """As Docker writes it: another file takes the place of the one that is there."""
    auth = base64.b64encode(f"ci:{password}".encode()).decode()
    new = folder / "config.json.new"
    new.write_text(json.dumps({"auths": {registry: {"auth": auth}}}), encoding="utf-8")
    os.replace(new, folder / "config.json")


def test_a_docker_login_elsewhere_lets_what_is_blocked_go_on(
    tmp_path: Path, make_registry: Callable[..., DockerRegistry], make_yarddesk: Callable[..., YarddeskProcess]
) -> None:
    registry, folder = make_registry(users={"ci": "right"}), tmp_path / "docker"
    folder.mkdir()
    yard = make_yarddesk(config=push_everything_to(registry.host), environment={"DOCKER_CONFIG": str(folder)})
    image = build_image("a")
    yard.push("team/app", "1", image)

    def part() -> dict[str, str] | None:
        jobs = yard.control("queue")["jobs"]
        return jobs[0]["upstreams"][0] if jobs else None

    until(lambda: (part() or {}).get("state") == "blocked", 30, "nobody is signed in")
    write_config(folder, registry.host, "wrong")
    until(lambda: "refused the password for `ci`" in (part() or {"reason": ""})["reason"], 30, "the file was read anew")
    write_config(folder, registry.host, "right")
    until(lambda: part() is None, 30, "it is synced")
    assert registry.tagged("team/app", "1") == image.manifest.digest
