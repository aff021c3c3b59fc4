"""A tree of rows that follows snapshots in place: rows come, go and move, the others stay where they are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from yarddesk.desktop import words
from yarddesk.desktop.models.row import Row, history_row, job_row, layer_row, part_row
from yarddesk.progress import LayerProgress
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, UpstreamPart

Index = QModelIndex | QPersistentModelIndex
Subject = JobSnapshot | HistoryEntry | UpstreamPart | LayerProgress | str

_NO_INDEX = QModelIndex()
_NO_FLAGS = Qt.ItemFlag.NoItemFlags
_TITLE_FLAGS = Qt.ItemFlag.ItemIsEnabled
_ROW_FLAGS = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
_TOP = 0  # the internal id of top-level indexes; a child's is its parent's serial number


class Role(IntEnum):
    """What a row's index gives beside text: its Row, and the value it was made from."""

    ROW = Qt.ItemDataRole.UserRole + 1
    SUBJECT = Qt.ItemDataRole.UserRole + 2


@dataclass(slots=True)
class _Entry:
    """A top-level row: `key` names it from snapshot to snapshot, `serial` for Qt."""

    key: str
    serial: int
    subject: Subject
    children: tuple[Subject, ...]
    row: Row | None = None
    child_rows: dict[int, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """What a model shall show at one place: a title (text), a job or a history entry."""

    key: str
    subject: Subject


class RowsModel(QAbstractItemModel):
    """Top-level rows and, below a job's, a line for each layer. Words are made when a row is looked at."""

    def __init__(self, now: datetime, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._now = now
        self._entries: list[_Entry] = []
        self._by_serial: dict[int, _Entry] = {}
        self._rows: dict[int, int] = {}
        self._next_serial = _TOP + 1

    def show(self, lines: Sequence[Line], now: datetime) -> None:
        """Become these lines, by as few changes as it takes."""
        self._now = now
        wanted = {line.key for line in lines}
        self._remove_others(wanted)
        self._bring_into_order(lines)
        self._change_in_place(lines)

    def tick(self, now: datetime) -> None:
        """Say anew what depends on the time."""
        self._now = now
        changed = []
        for position, entry in enumerate(self._entries):
            # What nobody has looked at yet will be said anew anyway.
            if (entry.row is not None or entry.child_rows) and _ticks(entry.subject):
                entry.row = None
                entry.child_rows.clear()
                changed.append(position)
                self._tell_children(position, range(len(entry.children)))
        self._tell(changed)

    def index_of(self, key: str) -> QModelIndex:
        """The top-level row of that key; invalid where there is none."""
        for position, entry in enumerate(self._entries):
            if entry.key == key:
                return self.createIndex(position, 0, _TOP)
        return QModelIndex()

    def key_of(self, index: Index) -> str:
        """The key of the top-level row that `index` is or belongs to."""
        entry = self._entry(index)
        return entry.key if entry else ""

    def subject_of(self, index: Index) -> Subject | None:
        """The job, the history entry or the title of the top-level row that `index` is or belongs to."""
        entry = self._entry(index)
        return entry.subject if entry else None

    def jobs(self) -> Iterator[JobSnapshot]:
        """The images, from above."""
        return (entry.subject for entry in self._entries if isinstance(entry.subject, JobSnapshot))

    # What Qt asks

    # The view asks the first of these several times of each row whenever one comes or goes: they are kept short.

    def index(self, row: int, column: int, parent: Index = _NO_INDEX) -> QModelIndex:
        if not parent.isValid():
            if column == 0 and 0 <= row < len(self._entries):
                return self.createIndex(row, 0, _TOP)
            return QModelIndex()
        if column != 0 or row < 0 or row >= self.rowCount(parent):
            return QModelIndex()
        return self.createIndex(row, 0, self._entries[parent.row()].serial)

    def parent(self, index: Index = _NO_INDEX) -> QModelIndex:  # type: ignore[override]
        if not index.isValid() or index.internalId() == _TOP:
            return QModelIndex()
        return self.createIndex(self._position(index.internalId()), 0, _TOP)

    def rowCount(self, parent: Index = _NO_INDEX) -> int:
        if not parent.isValid():
            return len(self._entries)
        if parent.internalId() != _TOP or parent.column() != 0:
            return 0
        return len(self._entries[parent.row()].children)

    def hasChildren(self, parent: Index = _NO_INDEX) -> bool:
        return self.rowCount(parent) > 0

    def columnCount(self, parent: Index = _NO_INDEX) -> int:
        return 1

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return _NO_FLAGS
        return _TITLE_FLAGS if isinstance(self.shown_at(index), str) else _ROW_FLAGS

    def shown_at(self, index: Index) -> Subject | None:
        """What the row itself is about: for a layer's row the layer."""
        entry = self._entry(index)
        if entry is None or index.internalId() == _TOP:
            return entry.subject if entry is not None else None
        return entry.children[index.row()]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self._entry(index)
        if entry is None:
            return None
        top = index.internalId() == _TOP
        if role == Role.SUBJECT:
            return self.shown_at(index)
        row = self._top_row(entry) if top else self._child_row(entry, index.row())
        match role:
            case Role.ROW:
                return row
            case Qt.ItemDataRole.DisplayRole:
                return row.name
            case Qt.ItemDataRole.AccessibleTextRole:
                return row.spoken
            case Qt.ItemDataRole.ToolTipRole:
                return words.tooltip(row.explained)
            case _:
                return None

    # Changes

    def _remove_others(self, wanted: set[str]) -> None:
        position = len(self._entries) - 1
        while position >= 0:
            if self._entries[position].key in wanted:
                position -= 1
                continue
            last = position
            while position > 0 and self._entries[position - 1].key not in wanted:
                position -= 1
            self.beginRemoveRows(QModelIndex(), position, last)
            for entry in self._entries[position : last + 1]:
                del self._by_serial[entry.serial]
            del self._entries[position : last + 1]
            self._rows.clear()
            self.endRemoveRows()
            position -= 1

    def _bring_into_order(self, lines: Sequence[Line]) -> None:
        present = {entry.key for entry in self._entries}
        position = 0
        while position < len(lines):
            line = lines[position]
            if position < len(self._entries) and self._entries[position].key == line.key:
                position += 1
            elif line.key in present:
                self._move_up(line.key, position)
                position += 1
            else:
                last = position
                while last + 1 < len(lines) and lines[last + 1].key not in present:
                    last += 1
                self._insert(position, lines[position : last + 1])
                position = last + 1

    def _move_up(self, key: str, to: int) -> None:
        origin = next(at for at in range(to + 1, len(self._entries)) if self._entries[at].key == key)
        self.beginMoveRows(QModelIndex(), origin, origin, QModelIndex(), to)
        self._entries.insert(to, self._entries.pop(origin))
        self._rows.clear()
        self.endMoveRows()

    def _insert(self, position: int, lines: Sequence[Line]) -> None:
        self.beginInsertRows(QModelIndex(), position, position + len(lines) - 1)
        entries = []
        for line in lines:
            entries.append(_Entry(line.key, self._next_serial, line.subject, _children(line.subject)))
            self._next_serial += 1
        self._entries[position:position] = entries
        self._by_serial.update((entry.serial, entry) for entry in entries)
        self._rows.clear()
        self.endInsertRows()

    def _change_in_place(self, lines: Sequence[Line]) -> None:
        changed = []
        for position, (entry, line) in enumerate(zip(self._entries, lines, strict=True)):
            if entry.subject is line.subject or entry.subject == line.subject:
                continue
            entry.subject, entry.row = line.subject, None
            self._change_children(position, entry)
            changed.append(position)
        self._tell(changed)

    def _change_children(self, position: int, entry: _Entry) -> None:
        old, new = entry.children, _children(entry.subject)
        parent = self.createIndex(position, 0, _TOP)
        if len(new) > len(old):
            self.beginInsertRows(parent, len(old), len(new) - 1)
            entry.children = new
            self.endInsertRows()
        elif len(new) < len(old):
            self.beginRemoveRows(parent, len(new), len(old) - 1)
            entry.children = new
            self.endRemoveRows()
        entry.children = new
        different = [at for at, (was, now) in enumerate(zip(old, new, strict=False)) if was is not now and was != now]
        for at in (*different, *range(len(new), len(old))):
            entry.child_rows.pop(at, None)
        self._tell_children(position, different)

    def _tell(self, positions: Iterable[int]) -> None:
        """Announce changed rows, neighbours together."""
        for first, last in _runs(positions):
            self.dataChanged.emit(self.createIndex(first, 0, _TOP), self.createIndex(last, 0, _TOP))

    def _tell_children(self, position: int, positions: Iterable[int]) -> None:
        serial = self._entries[position].serial
        for first, last in _runs(positions):
            self.dataChanged.emit(self.createIndex(first, 0, serial), self.createIndex(last, 0, serial))

    # Looking up

    def _entry(self, index: Index) -> _Entry | None:
        if not index.isValid():
            return None
        if index.internalId() == _TOP:
            return self._entries[index.row()] if index.row() < len(self._entries) else None
        return self._by_serial.get(index.internalId())

    def _position(self, serial: int) -> int:
        if not self._rows:
            self._rows = {entry.serial: position for position, entry in enumerate(self._entries)}
        return self._rows[serial]

    def _top_row(self, entry: _Entry) -> Row:
        if entry.row is None:
            entry.row = _row(entry.subject, self._now)
        return entry.row

    def _child_row(self, entry: _Entry, at: int) -> Row:
        if at not in entry.child_rows:
            entry.child_rows[at] = _row(entry.children[at], self._now)
        return entry.child_rows[at]


def _ticks(subject: Subject) -> bool:
    """Whether its words change with time alone."""
    return isinstance(subject, JobSnapshot) and any(part.next_attempt is not None for part in subject.parts)


def _row(subject: Subject, now: datetime) -> Row:
    match subject:
        case str():
            return Row(subject, spoken=subject)
        case JobSnapshot():
            return job_row(subject, now)
        case HistoryEntry():
            return history_row(subject, now)
        case UpstreamPart():
            return part_row(subject, now)
        case LayerProgress():
            return layer_row(subject)


def _children(subject: Subject) -> tuple[Subject, ...]:
    """Below a job: its layers; with several upstreams, a line for each of these before its layers."""
    if not isinstance(subject, JobSnapshot):
        return ()
    several = len(subject.parts) > 1
    lines: list[Subject] = []
    for part in subject.parts:
        if several:
            lines.append(part)
        if part.progress is not None:
            lines.extend(part.progress.layers)
    return tuple(lines)


def _runs(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours together: 1 2 3 7 → (1, 3) (7, 7)."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position - 1:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs
