"""A configuration file that we add to: planned, written with a record of what undoes it, put back."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarddesk.engines import files
from yarddesk.engines.edits import Insertion, insert
from yarddesk.engines.model import FileChange, RegistryAddress
from yarddesk.engines.records import Records, SetupRecord

_log = logging.getLogger(__name__)

Write = Callable[[FileChange], None]
"""Brings a change to the disk and to the engine."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What to add to a file's text; entries and added_keys as in SetupRecord."""

    insertions: tuple[Insertion, ...] = ()
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackedFile:
    """One file of an engine's.

    strip: takes our part out of a text that was edited since, by the record; raises ChangedMeanwhile where it can't.
    blank: whether a text says nothing, so that the file can go if it was ours.
    """

    engine: str
    path: Path
    records: Records
    strip: Callable[[str, SetupRecord], str]
    blank: Callable[[str], bool]

    def record(self) -> SetupRecord | None:
        """What we changed there."""
        return self.records.load(self.engine, self.path)

    def without_ours(self, current: bytes | None) -> tuple[bytes | None, bool]:
        """The file as it would be had we never touched it, and whether that is so to the byte. Raises ChangedMeanwhile."""
        record = self.record()
        if record is None or files.fingerprint(current) == record.before:
            return current, True
        same, original = record.original(current)
        if same:
            return original, True
        if current is None:
            return None, False
        text = self.strip(files.text_of(self.path, current), record)
        gone = record.created and self.blank(text)
        return (None if gone else text.encode("utf-8")), False

    def plan(
        self, address: RegistryAddress, current: bytes | None, base: bytes | None, edit: Edit
    ) -> tuple[FileChange, SetupRecord]:
        """The change from `current` to `base` with the edit, and the record that undoes it."""
        after = insert(files.text_of(self.path, base or b""), edit.insertions).encode("utf-8")
        earlier = self.record()
        folders = earlier.folders if earlier else files.folders_to_make(self.path)
        record = SetupRecord(
            engine=self.engine,
            address=str(address),
            path=self.path,
            before=files.fingerprint(base),
            after=files.fingerprint(after),
            insertions=edit.insertions,
            entries=edit.entries,
            added_keys=edit.added_keys,
            folders=folders,
        )
        return FileChange(self.path, current, after), record

    def apply(self, change: FileChange, record: SetupRecord, write: Write) -> None:
        """Keep the record, then write: whatever moment this ends at, `undo` knows what to do."""
        self.records.save(record)
        write(change)

    def roll_back(self, change: FileChange, record: SetupRecord, earlier: SetupRecord | None, write: Write) -> None:
        """After a failed `apply`: the file and the record as they were before it."""
        current = files.read(self.path)
        if current == change.after and change.after != change.before:
            write(FileChange(self.path, current, change.before))
        elif current != change.before:
            _log.warning("%s was changed while a set-up failed; it is left as it is", self.path)
            return
        if earlier is None:
            files.remove_empty(record.folders)
            self.records.drop(self.engine, self.path)
        else:
            self.records.save(earlier)

    def undo(self, record: SetupRecord, write: Write) -> tuple[FileChange, bool]:
        """Take our part out; gives the change, and whether the file is to the byte as it was before the set-up."""
        current = files.read(self.path)
        before, exact = self.without_ours(current)
        change = FileChange(self.path, current, before)
        if before != current:
            write(change)
        files.remove_empty(record.folders)
        self.records.drop(self.engine, self.path)
        return change, exact
