"""Configuration files of the system: read, and replaced in one step with owner, mode and attributes kept."""

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from yarddesk.engines.model import ChangedMeanwhile, ConfigurationInvalid, EngineError, FileChange

_MAX_BYTES: Final = 4 * 1024 * 1024
_NO_ATTRIBUTES: Final = (errno.ENOTSUP, errno.EPERM, errno.ENODATA, errno.EINVAL)


def fingerprint(content: bytes | None) -> str:
    """The content's sha256 in hexadecimal; empty for no file."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def read(path: Path) -> bytes | None:
    """The file's content, None where there is no file. Raises EngineError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused("read", path, error) from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationInvalid(f"{path} is too large.", f"It has more than {_MAX_BYTES:,} bytes.")
    return content


def text_of(path: Path, content: bytes) -> str:
    """The content as UTF-8. Raises ConfigurationInvalid."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        # Without the cause: it carries the content, which may hold secrets.
        raise ConfigurationInvalid(f"{path} is not UTF-8 text.", hint="Correct the file, then try again.") from None


def folders_to_make(path: Path) -> tuple[Path, ...]:
    """The folders above a file that are not there, the uppermost first."""
    missing = []
    for folder in path.parents:
        if folder.exists():
            break
        missing.append(folder)
    return tuple(reversed(missing))


def expect_unchanged(change: FileChange) -> None:
    """Raises ChangedMeanwhile where the file is not as `before` has it."""
    if read(change.path) != change.before:
        raise ChangedMeanwhile(
            f"{change.path} was changed meanwhile.",
            "Nothing was written.",
            hint="Look at the change again.",
            temporary=True,
        )


def replace(change: FileChange) -> None:
    """Bring one file from `before` to `after` in one step; the content lasts when this returns.

    A link is followed, so that what it points to changes. Raises ChangedMeanwhile, with nothing done, where the file isn't
    as `before` has it; EngineError where the system refuses.
    """
    path = Path(os.path.realpath(change.path))
    try:
        if change.after is None:
            expect_unchanged(change)
            path.unlink(missing_ok=True)
        else:
            with _beside(path, change.after) as temporary:
                expect_unchanged(change)
                os.replace(temporary, path)
        _make_durable(path.parent)
    except OSError as error:
        raise _refused("changed", change.path, error) from error


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders that hold nothing and are ours to remove, the innermost first."""
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM):
                return  # used by now, or root's: an empty folder left in the system's place does no harm
            raise _refused("removed", folder, error) from error


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[str]:
    """A file in the same folder with the content, and with owner, mode and attributes of the one that it will replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _dress(file.fileno(), path)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _dress(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    if sys.platform == "linux":
        _copy_attributes(path, descriptor)


def _copy_attributes(path: Path, descriptor: int) -> None:
    """SELinux labels and access control lists; what a file system doesn't have, or won't let us set, is left."""
    if sys.platform != "linux":
        return
    try:
        for name in os.listxattr(path):
            os.setxattr(descriptor, name, os.getxattr(path, name))
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise


def _make_durable(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(done: str, path: Path, error: OSError) -> EngineError:
    hint = ""
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "That needs more rights: run the command as root (sudo yarddesk setup …)."
    elif error.errno == errno.EROFS:
        hint = "The file system is read-only; where the system's configuration is generated, change it there."
    return EngineError(f"{path} could not be {done}.", f"{error.strerror or error}.", hint=hint)
