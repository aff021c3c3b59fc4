"""What other settings make of where a queued image goes."""

from yarddesk.sync.marker import Job, Part
from yarddesk.sync.queue import Queue, no_route
from yarddesk.sync.states import JobState
from yarddesk.sync.worker import Worker


def reroute(queue: Queue, worker: Worker, job: Job) -> bool:
    """Let the job follow the settings: whether anything of it changed.

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
    if lost or not job.parts:  # no parts: it came from a queue whose upstream wasn't known here
        job.parts |= {name: Part(name) for name in come}
        changed = changed or bool(come)
    return changed
