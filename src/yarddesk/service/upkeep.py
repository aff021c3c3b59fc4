"""What the commands do with stored content, beside a running instance's pushes or alone on the data folder."""

from collections.abc import Mapping
from types import MappingProxyType

from yarddesk.control.works import Document, Report, Work
from yarddesk.service.gc import Collecting
from yarddesk.service.layouts import LayoutWorks
from yarddesk.service.surroundings import Surroundings
from yarddesk.service.verify import Verifying


class Upkeep:
    """The works by the name of their command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.works: Mapping[str, Work] = MappingProxyType(
            {
                "usage": self.usage,
                "gc": Collecting(around).gc,
                "verify": Verifying(around).verify,
                **LayoutWorks(around).works,
            }
        )

    async def usage(self, _parameters: Document, _report: Report) -> Document:
        """How much is stored."""
        return {"used": await self._around.store.used_bytes()}
