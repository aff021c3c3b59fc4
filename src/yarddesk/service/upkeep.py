"""What the commands do with stored content, beside a running instance's pushes or alone on the data folder."""

from collections.abc import Mapping
from types import MappingProxyType

from yarddesk.control.works import Work
from yarddesk.service.gc import Collecting
from yarddesk.service.layouts import LayoutWorks
from yarddesk.service.pins import Pinning
from yarddesk.service.pulls import Pulling
from yarddesk.service.stored import Stored
from yarddesk.service.surroundings import Surroundings
from yarddesk.service.verify import Verifying


class Upkeep:
    """The works by the name of their command."""

    def __init__(self, around: Surroundings) -> None:
        stored = Stored(around)
        self.pinning = pinning = Pinning(around)
        self.works: Mapping[str, Work] = MappingProxyType(
            {
                "images": stored.images,
                "usage": stored.usage,
                "pin": pinning.pin,
                "pins": pinning.pins,
                "gc": Collecting(around).gc,
                "verify": Verifying(around).verify,
                "pull": Pulling(around).pull,
                **LayoutWorks(around).works,
            }
        )
