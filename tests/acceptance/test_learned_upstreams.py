"""What an upstream turned out to take is known after a restart, and after its settings were changed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import Status
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

CONFIG = """
upstreams:
  - name: {name}
    prefix: corp
    registry: {host}
    push: true
    tls: {{plain_http: true}}
"""


def test_what_was_learned_of_an_upstream_outlives_reload_and_restart(tmp_path: Path) -> None:
    registry = DockerRegistry(tmp_path / "registry")
    registry.start()
    try:
        with FaultProxy(registry.host) as proxy:
            proxy.inject(Step.PATCH, Status(405), times=float("inf"))
            yard = YarddeskProcess(tmp_path / "yard", config=CONFIG.format(name="corp", host=proxy.host))
            yard.start()
            try:
                _synced(yard, registry, "one")
                yard.configure(CONFIG.format(name="renamed", host=proxy.host))
                until(lambda: yard.control("status")["upstreams"][0]["name"] == "renamed")
                _synced(yard, registry, "two")
                yard.restart()
                _synced(yard, registry, "three")
            finally:
                yard.terminate()
            assert len(proxy.of(Step.PATCH)) == 1
        kept = json.loads((yard.data_dir / "upstreams.json").read_text(encoding="utf-8"))
        assert list(kept["places"]) == [proxy.host]
        assert list(kept["places"][proxy.host]["refused"]) == ["stream"]
        assert (yard.data_dir / "upstreams.json").stat().st_mode & 0o777 == 0o600
    finally:
        registry.stop()


def _synced(yard: YarddeskProcess, registry: DockerRegistry, name: str) -> None:
    image = build_image(name, [6_000_000])
    yard.push(f"corp/{name}", "v1", image)
    yard.run("wait", f"corp/{name}:v1", "--timeout", "60")
    assert registry.holds(name, "v1", image)
