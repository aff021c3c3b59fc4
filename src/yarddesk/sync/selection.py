"""Which jobs a person means."""

from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.pauses import EVERYTHING, Paused
from yarddesk.sync.queue import Queue


def select(queue: Queue, target: str | None) -> dict[Job, list[Part]]:
    """Jobs with the parts that are meant: all, one upstream's, or an image's or repository's; nothing where nothing matches."""
    jobs = queue.journal.jobs
    if target is None:
        return {job: list(job.parts.values()) for job in jobs.values()}
    if is_upstream(queue, target):
        return {job: [job.parts[target]] for job in jobs.values() if target in job.parts}
    if target in jobs:
        return {jobs[target]: list(jobs[target].parts.values())}
    try:
        image = ImageReference.parse(target)
    except YarddeskError:
        return {}
    repository = queue.routes.canonical(image.repository)
    return {
        job: list(job.parts.values())
        for job in queue.journal.in_repository(repository)
        if image.reference is None or job.reference == image.reference
    }


def is_meant(queue: Queue, target: str | None, job: Job) -> bool:
    """Whether `select` would give this job, without a look at the others."""
    if target is None or target == job.id:
        return True
    if is_upstream(queue, target):
        return target in job.parts
    if target in queue.journal.jobs:
        return False
    try:
        image = ImageReference.parse(target)
    except YarddeskError:
        return False
    same = queue.routes.canonical(image.repository) == job.repository
    return same and image.reference in (None, job.reference)


def is_upstream(queue: Queue, target: str) -> bool:
    """Whether it's the name of an upstream; an upstream's name wins over a repository's."""
    return queue.routes.upstream(target) is not None


def paused_by(queue: Queue, target: str | None) -> Paused | None:
    """What a pause of the target pauses as a whole; None where it's one image, or nothing that there could be."""
    if target is None:
        return EVERYTHING
    if is_upstream(queue, target):
        return Paused(upstream=target)
    try:
        image = ImageReference.parse(target)
    except YarddeskError:
        return None
    return Paused(repository=queue.routes.canonical(image.repository)) if image.reference is None else None


def names_one(queue: Queue, target: str | None) -> bool:
    """Whether it's one image that is meant, not all, an upstream's, or a repository's."""
    if target is None or is_upstream(queue, target):
        return False
    try:
        return ImageReference.parse(target).reference is not None
    except YarddeskError:
        return False
