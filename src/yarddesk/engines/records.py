"""What undoes a set-up: kept below the data folder, so it holds what we put in and fingerprints, never the file itself."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from yarddesk.engines.edits import Insertion, take_back
from yarddesk.engines.files import fingerprint
from yarddesk.engines.model import EngineError

_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class SetupRecord:
    """One file that a set-up of ours changed.

    before, after: fingerprints of the file, empty where there was none. insertions: all that we added, in order.
    entries: the same in the terms of the configuration, for a file that was edited since: key → what we added to it;
    added_keys: the keys that were not there before. folders: those that we made, the uppermost first.
    """

    engine: str
    address: str
    path: Path
    before: str
    after: str
    insertions: tuple[Insertion, ...]
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added_keys: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def created(self) -> bool:
        """Whether the file is ours altogether."""
        return not self.before

    def original(self, content: bytes | None) -> tuple[bool, bytes | None]:
        """Whether the file is still as we left it, and what it was before, to the byte."""
        if content is None or fingerprint(content) != self.after:
            return False, None
        text = take_back(content.decode("utf-8"), self.insertions)
        if text is None:
            return False, None
        before = None if self.created else text.encode("utf-8")
        return fingerprint(before) == self.before, before


class Records:
    """The records of all set-ups, one JSON file each, 0600 in a folder of 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, engine: str, path: Path) -> SetupRecord | None:
        """The record of a file, None where we changed nothing there. Raises EngineError."""
        return self._read(self._file(engine, path))

    def of(self, engine: str) -> tuple[SetupRecord, ...]:
        """All records of an engine, whatever the file. Raises EngineError."""
        found = (self._read(file) for file in sorted(self.folder.glob(f"{engine}-*.json")))
        return tuple(record for record in found if record is not None)

    def _read(self, file: Path) -> SetupRecord | None:
        try:
            return _parse(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"{file} can't be read.", "It says how to undo a set-up.", hint="Remove the file to begin anew."
            ) from error

    def save(self, record: SetupRecord) -> None:
        """Keep a record in place of an earlier one of the same file; it lasts when this returns. Raises EngineError."""
        file = self._file(record.engine, record.path)
        document = asdict(record) | {"schema": _SCHEMA, "path": str(record.path)}
        document["folders"] = [str(folder) for folder in record.folders]
        text = json.dumps(document, indent=2, ensure_ascii=False)
        try:
            self._make_folder()
            self._write(file, text.encode("utf-8"))
        except OSError as error:
            raise EngineError(f"{file} could not be written.", f"{error.strerror or error}.") from error

    def _write(self, file: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=self.folder)
        try:
            with os.fdopen(descriptor, "wb") as output:
                output.write(content)
                output.flush()
                os.fsync(output.fileno())
            self._give_away(temporary)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise

    def drop(self, engine: str, path: Path) -> None:
        """Forget a file. Raises EngineError."""
        file = self._file(engine, path)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise EngineError(f"{file} could not be removed.", f"{error.strerror or error}.") from error

    def _file(self, engine: str, path: Path) -> Path:
        return self.folder / f"{engine}-{fingerprint(os.fsencode(path))[:12]}.json"

    def _make_folder(self) -> None:
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._give_away(str(folder))

    def _give_away(self, path: str) -> None:
        """Under sudo, what lies in a user's data folder stays that user's."""
        if sys.platform == "win32" or os.geteuid() != 0:
            return
        owner = Path(path).parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _parse(document: Any) -> SetupRecord:  # noqa: ANN401 - JSON is any of its types
    if document["schema"] != _SCHEMA:
        raise ValueError("written by another version")
    return SetupRecord(
        engine=document["engine"],
        address=document["address"],
        path=Path(document["path"]),
        before=document["before"],
        after=document["after"],
        insertions=tuple(Insertion(int(each["offset"]), str(each["text"])) for each in document["insertions"]),
        entries={key: tuple(values) for key, values in document["entries"].items()},
        added_keys=tuple(document["added_keys"]),
        folders=tuple(Path(folder) for folder in document["folders"]),
    )
