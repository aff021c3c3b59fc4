"""Whether the data folder is there for us: made or to be made, ours alone, with room in it."""

import shutil
from collections.abc import Iterator
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.service.disk import disk_problem
from yarddesk.service.doctor.finding import Finding, State, broken, of_error, ok, warning
from yarddesk.settings.model import Settings
from yarddesk.storage.durable import storage_error
from yarddesk.storage.inspection import (
    check_makeable,
    check_readable,
    check_writable,
    is_another_programs,
    lax_mode,
    nearest_folder,
    quarantined,
)

_CHECK: Final = "data folder"
_DISK: Final = "disk"


def check_data_folder(settings: Settings) -> Iterator[Finding]:
    """Blocking; leaves nothing behind."""
    folder, subject = settings.data_dir, str(settings.data_dir)
    try:
        if folder.exists():
            check_writable(folder)
            yield from _present(settings, subject)
        else:
            check_makeable(folder)
            yield ok(_CHECK, subject, "It is not there yet; the first start makes it, for you alone.")
        yield _room(settings, subject)
    except StorageError as error:
        yield of_error(State.BROKEN, _CHECK, subject, error, "Name another one with --data-dir or data_dir.")
    except OSError as error:
        yield of_error(State.BROKEN, _CHECK, subject, storage_error(error, subject))


def _present(settings: Settings, subject: str) -> Iterator[Finding]:
    folder = settings.data_dir
    check_readable(folder)
    mode = lax_mode(folder)
    if mode:
        hint = f"chmod 700 {folder}; the next start does that, too."
        yield warning(_CHECK, subject, f"Others on this machine can look into it (its mode is {mode}).", hint)
    else:
        yield ok(_CHECK, subject, "It can be written to, what is stored can be read, and nobody else can look into it.")
    if is_another_programs(folder):
        yield warning(
            _CHECK,
            subject,
            "It is Switchyard's: the next start makes it ours, checking each blob as it goes.",
            "Copy it first if Switchyard is to go on with it, or name another one with --data-dir.",
        )
    if count := quarantined(folder):
        yield warning(
            _CHECK,
            str(folder / "quarantine"),
            f"{'1 file' if count == 1 else f'{count:,} files'} did not hold what the name said, and lie there.",
            "`yarddesk verify` says what is missing now, and fetches what an upstream has. Look why the disk does that.",
        )


def _room(settings: Settings, subject: str) -> Finding:
    place = nearest_folder(settings.data_dir)
    problem = disk_problem(place, settings.cache.min_free)
    if problem is None:
        return ok(_DISK, subject, f"{shutil.disk_usage(place).free / 1e9:,.1f} GB are free on its disk.")
    return (broken if problem.stops else warning)(_DISK, subject, problem.title, problem.hint)
