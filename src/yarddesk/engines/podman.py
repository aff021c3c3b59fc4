"""Podman with Buildah and Skopeo: a drop-in file of our own, since they take no address as plain HTTP by themselves.

Nothing has to be reloaded: each command reads the files anew.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from yarddesk.engines import files
from yarddesk.engines.configured import ConfiguredEngine
from yarddesk.engines.edits import Insertion, take_back
from yarddesk.engines.model import (
    ChangedMeanwhile,
    EngineError,
    EngineNotFound,
    EngineStatus,
    FileChange,
    Plan,
    ProofFailed,
    RegistryAddress,
    SetupState,
)
from yarddesk.engines.proof_image import ProofImage
from yarddesk.engines.records import SetupRecord
from yarddesk.engines.registries_conf import (
    Placed,
    Places,
    Table,
    placed_tables,
    prefix_of,
    remove_tables,
    render,
    tables_of,
    takes_plain_http,
)
from yarddesk.engines.tracked import Edit, TrackedFile

_DROP_IN: Final = "50-yarddesk.conf"
_PROGRAMS: Final = ("podman", "buildah", "skopeo")
_HEADING: Final = (
    "# Plain HTTP to the registry of yarddesk on this machine.\n# `yarddesk setup podman --undo` takes it back.\n"
)
_LIMIT_SECONDS: Final = 60.0


class PodmanEngine(ConfiguredEngine):
    """Whichever of podman, buildah and skopeo are here; they share one configuration."""

    key = "podman"
    title = "Podman"

    def _status(self, address: RegistryAddress) -> EngineStatus:
        programs = self._programs()
        if not programs:
            return EngineStatus(
                self.key, self.title, SetupState.ABSENT, "Neither Podman nor Buildah nor Skopeo is installed here."
            )
        status = EngineStatus(self.key, self.title, SetupState.BLOCKED, "", programs=programs)
        try:
            tracked = self._track(self._path())
            status = EngineStatus(
                self.key,
                self.title,
                SetupState.BLOCKED,
                "",
                version=self._version(programs[0]),
                programs=programs,
                config=tracked.path,
                undoable=tracked.record() is not None,
            )
            plan = self._plan(address, mirror=False)
        except EngineError as error:
            return self._with_problem(status, error)
        return self._describe(status, address, plan)

    def _describe(self, status: EngineStatus, address: RegistryAddress, plan: Plan) -> EngineStatus:
        names = _and([program.capitalize() for program in status.programs])
        many = len(status.programs) > 1
        if plan.empty:
            sentence = f"{names} {'push' if many else 'pushes'} to {address} and {'pull' if many else 'pulls'} from it."
            state, next_step = SetupState.SET_UP, ""
        else:
            sentence = f"{names} {'refuse' if many else 'refuses'} {address} until told that it speaks plain HTTP."
            state, next_step = SetupState.NOT_SET_UP, f"Say so in a file of our own, {status.config}."
        return EngineStatus(
            status.key,
            status.title,
            state,
            sentence,
            next_step,
            version=status.version,
            programs=status.programs,
            config=status.config,
            takes_address=plan.empty,
            undoable=status.undoable,
        )

    def _plan(self, address: RegistryAddress, mirror: bool) -> Plan:
        if not self._programs():
            raise EngineNotFound("Neither Podman nor Buildah nor Skopeo is installed here.")
        if mirror:
            raise EngineError("Set-up makes no mirror for Podman.", hint="Set it up without the mirror.")
        self._refuse_remote()
        places = Places.of(self._environment)
        path = places.drop_in(self._environment, _DROP_IN)
        tracked = self._track(path)
        current = files.read(path)
        base, _ = tracked.without_ours(current)
        names = _names(address)
        if _all_taken(placed_tables(places.files(), {}), names):
            return Plan(self.key, self.title, address, ())
        placed = placed_tables(_with(places, path), {path: base})
        edit = _edit(path, base, _tables_for(placed, path, names))
        change, record = tracked.plan(address, current, base, edit)
        self._refuse_if_hidden(places, path, change, names)
        notes = [f"Settings that another file has for {each} are kept." for each in _merged(placed, names)]
        if self._environment.program("podman"):
            notes.append("Podman's service, where it runs all the time, has to be restarted to see it.")
        return Plan(self.key, self.title, address, (change,), "", tuple(notes), record)

    def _refuse_if_hidden(self, places: Places, path: Path, change: FileChange, names: Sequence[str]) -> None:
        """A later file with a table for the same address would replace ours."""
        placed = placed_tables(_with(places, path), {path: change.after})
        for name in names:
            last = next(each for each in reversed(placed) if prefix_of(each.table) == name)
            if not takes_plain_http(last.table, name):
                raise EngineError(
                    f"{last.file} says otherwise for {name}.",
                    "It is read after ours, so that it would win.",
                    hint=f"Put insecure = true there, or remove its table for {name}.",
                )

    def _refuse_remote(self) -> None:
        if self._environment.platform != "linux":
            raise EngineError(
                "Set-up is for Podman on Linux.",
                hint="In a Podman machine, put the address into its registries.conf.d.",
            )
        if self._environment.environ.get("CONTAINER_HOST"):
            raise EngineError(
                "Podman talks to a service elsewhere (CONTAINER_HOST).",
                hint="Run set-up there, or unset CONTAINER_HOST.",
            )

    def _programs(self) -> tuple[str, ...]:
        return tuple(name for name in _PROGRAMS if self._environment.program(name))

    def _version(self, program: str) -> str:
        path = self._environment.program(program) or program
        words = self._environment.command(path, "--version", limit_seconds=20.0).output.split()
        return words[2] if len(words) > 2 else ""

    def _path(self) -> Path:
        return Places.of(self._environment).drop_in(self._environment, _DROP_IN)

    def _track(self, path: Path) -> TrackedFile:
        return TrackedFile(self.key, path, self._records, _strip, lambda text: not text.strip())

    def _write(self, change: FileChange) -> None:
        files.replace(change)

    def _write_back(self, change: FileChange) -> str:
        files.replace(change)
        return ""

    def _can_prove(self) -> bool:
        return bool(self._programs())

    def _carry(self, image: ProofImage) -> tuple[float, float]:
        descriptor, archive = tempfile.mkstemp(prefix="yarddesk-proof-", suffix=".tar")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(image.archive)
            if self._programs()[0] == "skopeo":
                return self._carry_by_skopeo(image, archive)
            return self._carry_by_store(self._programs()[0], image, archive)
        finally:
            os.unlink(archive)

    def _carry_by_store(self, program: str, image: ProofImage, archive: str) -> tuple[float, float]:
        """podman and buildah keep images of their own."""
        reference = image.reference
        source = f"docker-archive:{archive}"
        self._run(program, image, "read the image", "pull", "--quiet", source)
        try:
            push_seconds = self._run(program, image, "push to", "push", "--quiet", reference)
            self._run(program, image, "remove the image", "rmi", "--force", reference)
            pull_seconds = self._run(program, image, "pull from", "pull", "--quiet", reference)
        finally:
            self._forget(program, reference)
        return push_seconds, pull_seconds

    def _carry_by_skopeo(self, image: ProofImage, archive: str) -> tuple[float, float]:
        """skopeo keeps no images: there and back are files."""
        with tempfile.TemporaryDirectory(prefix="yarddesk-proof-") as folder:
            remote = f"docker://{image.reference}"
            push_seconds = self._run("skopeo", image, "push to", "copy", "--quiet", f"docker-archive:{archive}", remote)
            pull_seconds = self._run("skopeo", image, "pull from", "copy", "--quiet", remote, f"dir:{folder}")
        return push_seconds, pull_seconds

    def _run(self, program: str, image: ProofImage, words: str, *arguments: str) -> float:
        """Run a step of the proof; gives its seconds. Raises ProofFailed."""
        begin = time.monotonic()
        path = self._environment.program(program) or program
        ended = self._environment.command(path, *arguments, limit_seconds=_LIMIT_SECONDS)
        if ended.status != 0:
            address = image.reference.partition("/")[0]
            where = f" {address}" if words.endswith(("to", "from")) else ""
            raise ProofFailed(
                f"{program.capitalize()} could not {words}{where}.",
                ended.reason,
                hint="Is yarddesk running, and is that its address?" if where else "",
            )
        return time.monotonic() - begin

    def _forget(self, program: str, reference: str) -> None:
        """Remove the image where a step left it; that it isn't there is as good."""
        path = self._environment.program(program) or program
        self._environment.command(path, "rmi", "--force", reference, limit_seconds=_LIMIT_SECONDS)


def _names(address: RegistryAddress) -> tuple[str, ...]:
    """The address in the ways that people write it: these engines take localhost and 127.0.0.1 for two registries."""
    if address.host in ("localhost", "127.0.0.1"):
        return (f"localhost:{address.port}", f"127.0.0.1:{address.port}")
    return (str(address),)


def _with(places: Places, path: Path) -> tuple[Path, ...]:
    """The files in the order in which they are read, ours among them even if it isn't there yet."""
    found = list(places.files())
    if path in found:
        return tuple(found)
    later = places.folders[places.folders.index(path.parent) + 1 :]
    number = next(
        (
            i
            for i, file in enumerate(found)
            if file.parent in later or (file.parent == path.parent and file != places.main and file.name > path.name)
        ),
        len(found),
    )
    return (*found[:number], path, *found[number:])


def _all_taken(placed: Sequence[Placed], names: Sequence[str]) -> bool:
    tables = {prefix_of(each.table): each.table for each in placed}
    return all(name in tables and takes_plain_http(tables[name], name) for name in names)


def _tables_for(placed: Sequence[Placed], path: Path, names: Sequence[str]) -> list[Table]:
    """Our tables: what others say of the address, and that it is insecure. Raises EngineError."""
    tables: list[Table] = []
    for name in names:
        last = next((each for each in reversed(placed) if prefix_of(each.table) == name), None)
        if last is not None and takes_plain_http(last.table, name):
            continue
        if last is not None and (last.file == path or _contradicts(last.table, name)):
            raise EngineError(
                f"{last.file} says otherwise for {name}.",
                hint=f"Put insecure = true there, or remove its table for {name}.",
            )
        others: Mapping[str, object] = last.table if last is not None else {}
        tables.append({"location": name} | dict(others) | {"insecure": True})
    return tables


def _contradicts(table: Table, name: str) -> bool:
    """What must not be overruled: the address is forbidden, or another takes its place."""
    return table.get("blocked") is True or str(table.get("location") or name) != name


def _merged(placed: Sequence[Placed], names: Sequence[str]) -> list[str]:
    tables = {prefix_of(each.table): each.table for each in placed}
    return [name for name in names if name in tables and not takes_plain_http(tables[name], name)]


def _edit(path: Path, base: bytes | None, tables: Sequence[Table]) -> Edit:
    text = files.text_of(path, base or b"")
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    added = gap + _HEADING + "\n".join(render(table) for table in tables)
    locations = tuple(str(table["location"]) for table in tables)
    return Edit((Insertion(len(text), added),), entries={"location": locations})


def _strip(text: str, record: SetupRecord) -> str:
    """Our tables out of a drop-in that was edited since. Raises ChangedMeanwhile where they were edited themselves."""
    added = "".join(insertion.text for insertion in record.insertions)
    place = text.find(added)
    if place >= 0:
        without = take_back(text, [Insertion(place, added)])
        assert without is not None, "it was found there"
        return without
    ours = tables_of(record.path, added.encode("utf-8"))
    left = remove_tables(text, ours)
    locations = record.entries.get("location", ())
    if left is None or any(prefix_of(table) in locations for table in tables_of(record.path, left.encode("utf-8"))):
        raise ChangedMeanwhile(
            f"What set-up had put into {record.path} was edited since.",
            hint=f"Remove the tables for {_and(locations)} there by hand, or the file.",
        )
    return left.replace(_HEADING, "", 1)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
