"""What `yarddesk status` says of an upstream that nothing is synced to."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.test_bounds import pull_from
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image


def test_an_upstream_that_only_pulls_ask_is_told_to_answer_and_to_be_away(
    docker_registry: DockerRegistry, make_yarddesk: Callable[..., YarddeskProcess]
) -> None:
    docker_registry.push("team/app", "v1", build_image("a"))
    docker_registry.push("team/app", "v2", build_image("b"))
    yard = make_yarddesk(config=pull_from(docker_registry.host))

    def seen() -> tuple[str, str]:
        (upstream,) = yard.control("status")["upstreams"]
        return upstream["state"], upstream["reason"]

    assert seen() == ("unknown", "")
    assert yard.manifest("team/app", "v1") is not None
    assert seen() == ("ok", "")
    docker_registry.stop()
    assert yard.request("GET", "/v2/team/app/manifests/v2")[0] == 502
    state, reason = seen()
    assert state == "away"
    assert "refused the connection" in reason
    told = yard.run("status").stdout
    assert f" away: {reason}" in told
    assert told.count(reason) == 1
