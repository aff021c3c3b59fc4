"""What keeps images from being tried until a person does something about it, pauses and settings, and how to go on: in words."""

from dataclasses import dataclass, field
from shlex import quote
from typing import Final

from yarddesk.sync.marker import Job, Part
from yarddesk.sync.queue import PartsOf, Queue, no_route
from yarddesk.sync.states import JobState

_MOST_NAMED: Final = 3


@dataclass(slots=True)
class KeptBack:
    """`images` are kept back everywhere; `going` counts those of which something is tried, or will be by itself.

    `paused`: whom to name to `yarddesk resume`, each once; `everything` is paused; `stranded`: upstreams that the settings let
    it go to no more.
    """

    images: list[str] = field(default_factory=list)
    going: int = 0
    everything: bool = False
    paused: dict[str, None] = field(default_factory=dict)
    stranded: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.images or self.everything or self.paused or self.stranded)

    def reasons(self) -> str:
        pauses = []
        if self.everything:
            pauses.append("Everything is paused.")
        elif self.paused:
            pauses.append(f"{_listed(list(self.paused))} {'is' if len(self.paused) == 1 else 'are'} paused.")
        settings = [no_route(upstream) for upstream in sorted(self.stranded)[:_MOST_NAMED]]
        return " ".join((*pauses, *settings)) or "No upstream takes it."

    def hint(self) -> str:
        hints = []
        if self.everything or len(self.paused) > _MOST_NAMED:
            hints.append("Resume all of it (yarddesk resume).")
        elif self.paused:
            hints.append(f"Resume it ({', '.join(f'yarddesk resume {quote(target)}' for target in self.paused)}).")
        if self.stranded or not hints:
            hints.append("Change the settings, or cancel it (yarddesk cancel).")
        return " ".join(hints)

    def words(self) -> str:
        """All of it, for whoever was told that something is done now; empty where nothing is kept back."""
        if not self:
            return ""
        count = len(self.images)
        whom = f"{count} image{' is' if count == 1 else 's are'} kept back" if count else "Some of it is kept back"
        return f"{whom}. {self.reasons()} {self.hint()}"


def kept_back(queue: Queue, selected: PartsOf) -> KeptBack:
    """Pure of what is in memory."""
    found = KeptBack()
    for job, parts in selected.items():
        wanted = [part for part in parts if not part.state.is_over]
        kept = [part for part in wanted if _is_kept_back(queue, job, part, found)]
        if len(kept) < len(wanted):
            found.going += 1
        elif wanted or not parts:
            found.images.append(job.id)
    return found


def _is_kept_back(queue: Queue, job: Job, part: Part, found: KeptBack) -> bool:
    # What has no route was blocked for that: of thousands that only wait the question isn't asked.
    if part.state is JobState.BLOCKED and not queue.has_route(job, part):
        found.stranded.add(part.upstream)
        return True
    if not queue.is_paused(job, part):
        return False
    pauses = queue.pauses
    if pauses.everything:
        found.everything = True
        return True
    if queue.is_held(job):
        # An image of a paused repository goes on with its repository, also where it's paused by itself.
        found.paused[str(job.repository) if job.repository in pauses.repositories else job.id] = None
    if part.upstream in pauses.upstreams:
        found.paused[part.upstream] = None
    return True


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    if more > 0:
        return f"{', '.join(names[:_MOST_NAMED])} and {more} more"
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
