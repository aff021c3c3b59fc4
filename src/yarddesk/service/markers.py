"""What to tell of files in the queue's folder that can't be used."""

from pathlib import Path

from yarddesk.service.front import Problem, Remedy
from yarddesk.sync.snapshot import SyncSnapshot


def marker_problem(snapshot: SyncSnapshot, data_dir: Path) -> Problem | None:
    """One for all of them."""
    aside = snapshot.set_aside
    if not aside:
        return None
    one = len(aside) == 1
    return Problem(
        f"{'A file' if one else f'{len(aside)} files'} in the queue's folder can't be used.",
        hint="What such a file is named after is queued again. It was set aside for you to look at: delete it then.",
        details="\n".join(f"{data_dir / 'pending' / each.file}: {each.reason}" for each in aside[:20]),
        remedy=Remedy.OPEN_QUEUE_FOLDER,
        stops=False,
    )
