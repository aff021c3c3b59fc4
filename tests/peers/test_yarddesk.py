from __future__ import annotations

from collections.abc import Callable

from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

LOCAL = "upstreams: []\n"


def test_it_is_started_stopped_killed_and_started_again_on_its_port(
    make_yarddesk: Callable[..., YarddeskProcess],
) -> None:
    yard = make_yarddesk(config=LOCAL)
    port = yard.port
    image = build_image("a seed")
    yard.push("team/app", "1", image)
    yard.restart()
    yard.kill()
    until(lambda: not yard.running)
    yard.start()
    assert yard.port == port
    assert yard.holds("team/app", "1", image)
    assert yard.terminate() == 0


def test_commands_and_the_control_interface_reach_it(make_yarddesk: Callable[..., YarddeskProcess]) -> None:
    yard = make_yarddesk(config=LOCAL)
    assert yard.control("status")["url"] == yard.url
    assert yard.url in yard.run("status", "--json").stdout
