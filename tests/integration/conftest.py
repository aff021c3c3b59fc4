"""A docker-registry, or yarddesk itself, for a whole file of tests, and the fault proxy before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.faulty import PASSWORD, USER, Door
from tests.peers.fault_proxy import FaultProxy
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """What `door` gives to each test of a file; a file may have one of its own."""
    registry = DockerRegistry(tmp_path_factory.mktemp("registry"), users={USER: PASSWORD})
    registry.start()
    try:
        with FaultProxy(registry.host) as proxy:
            yield Door(registry, proxy)
    finally:
        registry.stop()


@pytest.fixture
def door(doors: Door) -> Iterator[Door]:
    with doors.cleared():
        yield doors


@pytest.fixture(scope="module")
def yarddesk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[YarddeskProcess]:
    """A central registry that syncs nowhere."""
    process = YarddeskProcess(tmp_path_factory.mktemp("central"), config="upstreams: []\n")
    process.start()
    yield process
    process.terminate()
