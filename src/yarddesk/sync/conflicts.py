"""Tags that somebody else moved upstream: how that is noticed, and what the settings or a person want done about it.

Registries offer no compare-and-swap: between our last look at a tag and the request that moves it, somebody may still move it.
So it's looked at before anything is sent, again just before it's moved, and once more when it's read back.
"""

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.sync.marker import Conflict, Part
from yarddesk.sync.seen import Seen, SeenTags

_log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS: Final = 300.0
"""How often a tag that waits for a person is looked at: it may have been moved back, or to what is to be synced."""


class OnConflict(StrEnum):
    """`sync.on_conflict`."""

    OVERWRITE = "overwrite"
    ASK = "ask"
    KEEP = "keep"


class TagMoved(YarddeskError):
    """Somebody else moved the tag, to `there`, and a person must decide."""

    def __init__(self, registry: str, tag: Tag, there: Digest) -> None:
        super().__init__(
            f"Somebody moved {tag} at {registry} to {shown(there)} since it was last seen there.",
            hint="Decide: overwrite it, keep theirs, or sync under another tag (yarddesk decide).",
        )
        self.there = there


class TagKept(YarddeskError):
    """Somebody else moved the tag, and the settings say that it stays as it is."""

    def __init__(self, registry: str, tag: Tag, there: Digest) -> None:
        super().__init__(kept(registry, tag, there))
        self.there = there


def kept(registry: str, tag: Tag, there: Digest) -> str:
    """Why an image doesn't go there."""
    return f"Kept what {registry} has under {tag}: {shown(there)}, which somebody else put there."


def is_moved(there: Digest | None, ours: Digest, seen: Seen | None) -> bool:
    """Whether somebody else moved a tag, that names `there`, from what we last saw it name.

    One that was never seen can't be told to have moved, and what is gone can't be overwritten.
    """
    return seen is not None and there not in (None, ours, seen.digest, seen.sent)


def decide(policy: OnConflict, conflict: Conflict | None, there: Digest) -> OnConflict:
    """What is to be done about a tag that was moved to `there`. A person's word counts for the digest that it was given for."""
    if conflict is not None and conflict.overwrite and conflict.there == there:
        return OnConflict.OVERWRITE
    return policy


class TagGuard:
    """One attempt's eye on its tag. `policy` and `save` (the part's marker) are asked when they are needed."""

    def __init__(
        self,
        seen: SeenTags,
        place: str,
        registry: str,
        tag: Tag,
        ours: Digest,
        part: Part,
        *,
        policy: Callable[[], OnConflict],
        save: Callable[[], Awaitable[object]],
    ) -> None:
        self.tag = tag
        self._seen = seen
        self._place = place
        self._registry = registry
        self._ours = ours
        self._part = part
        self._policy = policy
        self._save = save

    def holds_back(self, there: Digest | None) -> bool:
        """Whether a tag that names this there must not be moved, as things are."""
        seen = self._seen.get(self._place, self.tag)
        if there is None or not is_moved(there, self._ours, seen):
            return False
        return decide(self._policy(), self._part.conflict, there) is not OnConflict.OVERWRITE

    def look(self, there: Digest | None) -> None:
        """The tag names this there. Raises TagMoved or TagKept where that keeps us from moving it.

        What is found in a conflict doesn't count as seen: the next try would not find the conflict any more.
        """
        if self._seen.get(self._place, self.tag) is None or there == self._ours:
            self._seen.saw(self._place, self.tag, there)
            self._seen.write_soon()
        if there is not None and self.holds_back(there):
            error = TagKept if self._policy() is OnConflict.KEEP else TagMoved
            raise error(self._registry, self.tag, there)

    async def about_to_move(self, there: Digest | None) -> None:
        """`look`; then what is replaced is in the marker, and what is sent among the seen tags, before it happens."""
        self.look(there)
        self._seen.sending(self._place, self.tag, self._ours)
        if self._policy() is OnConflict.OVERWRITE:
            self._seen.write_soon()  # it matters to the other policies alone
        else:
            await self._seen.write()
        if there in (None, self._ours, self._part.replaced):
            return
        self._part.replaced = there
        try:
            await self._save()
        except YarddeskError as error:
            # A disk without room must not keep an image here that could go.
            _log.error("that %s at %s replaces %s is not written down yet: %s", self.tag, self._registry, there, error)

    def refused(self) -> None:
        """The registry would not move it: nothing was replaced."""
        self._part.replaced = None

    async def arrived(self) -> None:
        """It was read back: that's what is seen there now, durably before the marker goes."""
        self._seen.saw(self._place, self.tag, self._ours)
        await self._seen.write()


def shown(digest: Digest) -> str:
    """A digest in a sentence."""
    return f"{digest.algorithm}:{digest.short}…"
