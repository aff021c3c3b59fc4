"""What other settings make of where a queued image goes."""

from collections.abc import Mapping

from yarddesk.content.upstream import Routes
from yarddesk.settings.model import Settings
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.queue import Queue, no_route
from yarddesk.sync.states import JobState
from yarddesk.sync.worker import Worker


def changed_upstreams(before: Settings, old: Routes, after: Settings, new: Routes) -> set[str]:
    """Those that came, went, or are not what they were."""
    was = {upstream.name: upstream for upstream in before.upstreams}
    now = {upstream.name: upstream for upstream in after.upstreams}
    other = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
    return other | ({upstream.name for upstream in old.all()} ^ {upstream.name for upstream in new.all()})


def renamed_upstreams(before: Settings, after: Settings) -> dict[str, str]:
    """From old name to new: those that stand where they stood, by another name."""
    now = {upstream.route: upstream.name for upstream in after.upstreams}
    names = {upstream.name: now.get(upstream.route, upstream.name) for upstream in before.upstreams}
    return {old: new for old, new in names.items() if new != old}


def reroute(queue: Queue, worker: Worker, job: Job, *, displaced: bool = False) -> bool:
    """Let the job follow the settings: whether anything of it changed. displaced: an open part is to begin anew by another name.

    Where an upstream went and another came to this route, the one takes the place of the other (it was renamed, or moved).
    Where none came the part stays, blocked, until the upstream is back or a person cancels it.
    """
    route = queue.upstreams_of(job.repository, job.reference)
    lost = [part for part in job.open_parts if part.upstream not in route]
    come = [name for name in route if name not in job.parts]
    changed = False
    for part in lost:
        queue.schedule.drop(queue.key(job, part))
        worker.stop([queue.key(job, part)])
        if come:
            del job.parts[part.upstream]
            changed = True
        elif not (part.state is JobState.BLOCKED and part.reason == no_route(part.upstream)):
            if part.state is not JobState.BLOCKED:
                part.move(JobState.BLOCKED)
            part.reason, part.needs_credentials, part.missing = no_route(part.upstream), False, ()
            part.conflict = None
            changed = True
    if lost or displaced or not job.parts:  # no parts: it came from a queue whose upstream wasn't known here
        job.parts |= {name: Part(name) for name in come}
        changed = changed or bool(come)
    return changed


def reroute_queued(queue: Queue, worker: Worker, job: Job, names: Mapping[str, str]) -> bool:
    """The same of a job that is in the queue already: what is new is queued, and what was blocked gets another try.

    names: of upstreams that are called otherwise now, from old name to new.
    """
    with queue.changing(job):
        arrived, displaced = _follow_names(queue, worker, job, names)
        before = set(job.parts)
        changed = reroute(queue, worker, job, displaced=displaced) or arrived
    requeue_blocked(queue, job)
    for part in job.open_parts:
        if part.upstream not in before:
            queue.enqueue(job, part)
    return changed


def _follow_names(queue: Queue, worker: Worker, job: Job, names: Mapping[str, str]) -> tuple[bool, bool]:
    """What has arrived is at the same place by its new name: whether anything has, and whether an open part had to make way for it."""
    arrived = [part for part in job.parts.values() if part.state.is_over and part.upstream in names]
    displaced = [part for part in job.open_parts if part.upstream in {names[each.upstream] for each in arrived}]
    for part in (*arrived, *displaced):
        del job.parts[part.upstream]
    for part in displaced:
        queue.schedule.drop(queue.key(job, part))
        worker.stop([queue.key(job, part)])
    for part in arrived:
        part.upstream = names[part.upstream]
        job.parts[part.upstream] = part
    return bool(arrived), bool(displaced)


def requeue_blocked(queue: Queue, job: Job) -> None:
    """Another try for what may go on now."""
    for part in job.open_parts:
        if part.state is JobState.BLOCKED and queue.has_route(job, part):
            queue.requeue(job, part)
