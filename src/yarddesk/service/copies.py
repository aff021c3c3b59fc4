"""Images carried out to an OCI image layout, and in from one: the same copy of a graph as on the way upstream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from yarddesk.content.copying import DirectCarrier, copy_graph
from yarddesk.content.graph import Graph
from yarddesk.content.target import Target
from yarddesk.control.works import Report
from yarddesk.oci.digest import Digest
from yarddesk.progress import ProgressMeter

_LOOK_SECONDS: Final = 0.25


async def copy_image(
    source: Target, destination: Target, graph: Graph, report: Report, **figures: int | str
) -> list[Digest]:
    """Copy a graph and tell how far it is, with `figures`; the manifests that it names and neither side has.

    What the other side has is looked at piece by piece: an index there may well lack what it names.
    """
    meter = ProgressMeter()
    async with told(meter, report, figures):
        carrier = DirectCarrier(source, destination, meter)
        return list(await copy_graph(graph, carrier, trust=False, sparse=True))


@asynccontextmanager
async def told(meter: ProgressMeter, report: Report, figures: dict[str, int | str]) -> AsyncIterator[None]:
    """How far the meter is, is told inside, with `figures`."""

    def tell() -> None:
        snapshot = meter.snapshot()
        report.progress(**figures, bytes_done=snapshot.bytes_done, bytes_total=snapshot.bytes_total)

    async def look() -> None:
        while True:
            tell()
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look(), name="progress of a copy")
    try:
        yield
        tell()
    finally:
        looking.cancel()
        await asyncio.wait([looking])
