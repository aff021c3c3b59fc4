"""Docker Engine on Linux: `insecure-registries` and `registry-mirrors` in its daemon.json, read again on SIGHUP.

dockerd forgets a list on SIGHUP only if the file still has its key: so a key that goes is first an empty list, then gone.
A mirror with a path is taken from 24.0.8 on. Shown with dockerd 20.10; the rest as its documentation has it.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from yarddesk.engines import files, json_text
from yarddesk.engines.configured import ConfiguredEngine
from yarddesk.engines.docker_api import DockerForbidden, RegistryView
from yarddesk.engines.docker_daemon import Daemon, NotThisMachines, find_daemon
from yarddesk.engines.edits import Insertion, insert
from yarddesk.engines.hands import Hand, hand_for
from yarddesk.engines.model import (
    ChangedMeanwhile,
    ConfigurationInvalid,
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
from yarddesk.engines.tracked import Edit, TrackedFile

_INSECURE: Final = "insecure-registries"
_MIRRORS: Final = "registry-mirrors"
_FIRST_WITH_MIRROR_PATHS: Final = (24, 0, 8)
_RELOAD_SECONDS: Final = 10.0
_STEP_SECONDS: Final = 0.05


class ReloadFailed(EngineError):
    """dockerd did not take the configuration that it was told to read."""


class DockerEngine(ConfiguredEngine):
    """The Docker Engine that a person's `docker` talks to, rootful or rootless."""

    key = "docker"
    title = "Docker Engine"

    def _status(self, address: RegistryAddress) -> EngineStatus:
        absent = EngineStatus(self.key, self.title, SetupState.ABSENT, "Docker Engine is not installed here.")
        try:
            daemon = self._find()
        except EngineNotFound:
            return absent
        except EngineError as error:
            running = True if isinstance(error, DockerForbidden | NotThisMachines) else None
            return self._with_problem(EngineStatus(self.key, self.title, absent.state, "", running=running), error)
        undoable = False
        try:
            undoable = self._track(daemon.config).record() is not None
            plan = self._plan_for(daemon, address, mirror=False)
        except EngineError as error:
            return self._with_problem(self._describe(daemon, SetupState.BLOCKED, address, undoable=undoable), error)
        state = SetupState.SET_UP if plan.empty else SetupState.NOT_SET_UP
        return self._describe(daemon, state, address, undoable=undoable)

    def _describe(self, daemon: Daemon, state: SetupState, address: RegistryAddress, *, undoable: bool) -> EngineStatus:
        name = f"Docker Engine {daemon.version}".rstrip() + (" (rootless)" if daemon.rootless else "")
        takes = _is_taken_anyway(address) or state is SetupState.SET_UP
        if state is SetupState.SET_UP:
            sentence = f"{name} pushes to {address} and pulls from it."
        elif takes:
            sentence = f"{name} takes {address} by itself. Set-up puts that into its configuration, and proves it."
        else:
            sentence = f"{name} refuses {address}: it wants HTTPS there."
        if not daemon.running:
            sentence += " It isn't running now."
        next_step = "" if state is SetupState.SET_UP else f"Add {address} to {daemon.config}."
        return EngineStatus(
            self.key,
            self.title,
            state,
            sentence,
            next_step,
            version=daemon.version,
            programs=("docker",) if self._environment.program("docker") else (),
            running=daemon.running,
            socket=daemon.socket,
            config=daemon.config,
            takes_address=takes,
            undoable=undoable,
        )

    def _plan(self, address: RegistryAddress, mirror: bool) -> Plan:
        return self._plan_for(self._find(), address, mirror=mirror)

    def _plan_for(self, daemon: Daemon, address: RegistryAddress, *, mirror: bool) -> Plan:
        tracked = self._track(daemon.config)
        current = files.read(daemon.config)
        found = _read(daemon.config, current)
        wanted = self._wanted(daemon, address, mirror=mirror)
        missing = {key: value for key, value in wanted.items() if value not in _list(daemon.config, found, key)}
        if not missing or (daemon.running and self._taken_by_flags(daemon, missing, address)):
            return Plan(self.key, self.title, address, ())
        self._refuse_conflicts(daemon, missing, address)
        base, _ = tracked.without_ours(current)
        edit = _edit(daemon.config, base, wanted)
        change, record = tracked.plan(address, current, base, edit)
        reload = "dockerd reads it again on SIGHUP; containers go on running." if daemon.running else ""
        notes = []
        if not daemon.running:
            notes.append(
                "Docker isn't running: it reads the change when it starts, and the proof has to wait until then."
            )
        if _is_taken_anyway(address):
            notes.append(
                f"Docker takes plain HTTP from this machine anyway; the entry makes that explicit for {address}."
            )
        return Plan(self.key, self.title, address, (change,), reload, tuple(notes), record)

    def _wanted(self, daemon: Daemon, address: RegistryAddress, *, mirror: bool) -> dict[str, str]:
        wanted = {_INSECURE: str(address)}
        if mirror:
            if daemon.version and _version(daemon.version) < _FIRST_WITH_MIRROR_PATHS:
                raise EngineError(
                    f"Docker {daemon.version} takes no mirror with a path.",
                    hint="Docker Engine 25 does; or go without the mirror.",
                )
            wanted[_MIRRORS] = f"{address.url}/docker.io"
        return wanted

    def _taken_by_flags(self, daemon: Daemon, missing: Mapping[str, str], address: RegistryAddress) -> bool:
        """Whether the flags that dockerd was started with say already what is missing in the file."""
        if not set(missing) <= daemon.flags:
            return False
        view = daemon.api.registries()
        insecure = str(address) in view.insecure or _is_taken_anyway(address)
        return (_INSECURE not in missing or insecure) and (_MIRRORS not in missing or _mirrors(view, missing[_MIRRORS]))

    def _refuse_conflicts(self, daemon: Daemon, missing: Mapping[str, str], address: RegistryAddress) -> None:
        flags = {_INSECURE: "--insecure-registry", _MIRRORS: "--registry-mirror"}
        for key in missing:
            if key in daemon.flags:
                raise EngineError(
                    f"dockerd is started with {flags[key]}.",
                    f"With “{key}” in {daemon.config} as well it would refuse to start.",
                    hint=f"Move the flag's values into {daemon.config}, or add {flags[key]}={missing[key]} to the flags.",
                )

    def _find(self) -> Daemon:
        if self._environment.platform != "linux":
            raise NotThisMachines(
                "Set-up is for Docker Engine on Linux.",
                hint="In Docker Desktop, add the address to insecure-registries under Settings → Docker Engine.",
            )
        daemon = find_daemon(self._environment)
        if daemon is None:
            raise EngineNotFound("Docker Engine is not installed here.")
        return daemon

    def _path(self) -> Path:
        return self._find().config

    def _track(self, path: Path) -> TrackedFile:
        return TrackedFile(self.key, path, self._records, _strip, _says_nothing)

    def _write(self, change: FileChange) -> None:
        self._switch(change, "")

    def _write_back(self, change: FileChange) -> str:
        try:
            self._switch(change, " --undo")
        except ReloadFailed:
            return "Restart Docker: it still holds what was there."
        return ""

    def _switch(self, change: FileChange, option: str) -> None:
        daemon = self._reader(change.path)
        # Root has a data folder of its own, so that sudo would find no running instance without this one's name.
        command = f"yarddesk setup {self.key} --data-dir {shlex.quote(str(self._records.folder.parent))}{option}"
        with hand_for(self._environment, change.path, daemon.pid if daemon else None, command) as hand:
            _switch(daemon, change, hand)

    def _reader(self, path: Path) -> Daemon | None:
        """The running engine that reads that file."""
        try:
            daemon = self._find()
        except EngineNotFound:
            return None
        return daemon if daemon.running and daemon.config == path else None

    def _can_prove(self) -> bool:
        return self._find().running

    def _carry(self, image: ProofImage) -> tuple[float, float]:
        api = self._find().api
        api.load(image.archive)
        try:
            begin = time.monotonic()
            _explain("push to", image, lambda: api.push(image.reference))
            pushed = time.monotonic()
            api.remove(image.reference)
            again = time.monotonic()
            _explain("pull from", image, lambda: api.pull(image.reference))
            pulled = time.monotonic()
            if api.layers(image.reference) != [image.diff_id]:
                raise ProofFailed("What Docker pulled is not what it had pushed.", f"That was {image.reference}.")
        finally:
            api.remove(image.reference)
        return pushed - begin, pulled - again


def _is_taken_anyway(address: RegistryAddress) -> bool:
    """127.0.0.0/8 is insecure to every dockerd; ::1 only to later ones, so it counts as not."""
    return address.is_loopback and not address.host.startswith("[")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _read(path: Path, content: bytes | None) -> dict[str, Any]:
    """daemon.json as an object. Raises ConfigurationInvalid, naming the line, without the file's text."""
    try:
        return json_text.read_object(files.text_of(path, content or b""))
    except json.JSONDecodeError as error:
        place = f"{error.msg} at line {error.lineno}, column {error.colno}."
        raise ConfigurationInvalid(
            f"{path} is not valid JSON.", place, hint="Docker can't read it either: correct it, then try again."
        ) from None
    except json_text.NotAnObject as error:
        raise ConfigurationInvalid(f"{path} is not as Docker wants it.", f"{error}.") from None


def _list(path: Path, found: dict[str, Any], key: str) -> list[str]:
    try:
        return json_text.read_list(found, key)
    except json_text.NotAnObject as error:
        raise ConfigurationInvalid(f"{path} is not as Docker wants it.", f"{error}.") from None


def _edit(path: Path, base: bytes | None, wanted: Mapping[str, str]) -> Edit:
    """Add what is not there yet; our mirror is asked first, the others after it."""
    text = files.text_of(path, base or b"")
    found = _read(path, base)
    missing = {key: value for key, value in wanted.items() if value not in _list(path, found, key)}
    insertions = []
    for key, value in missing.items():
        insertion = json_text.add_to_list(text, key, value, first=key == _MIRRORS)
        insertions.append(insertion)
        text = insertion.apply(text)
    return Edit(
        tuple(insertions),
        entries={key: (value,) for key, value in missing.items()},
        added_keys=tuple(key for key in missing if key not in found),
    )


def _strip(text: str, record: SetupRecord) -> str:
    """Our entries out of a daemon.json that was edited since, and our keys where nothing else stands in them."""
    try:
        for key, values in record.entries.items():
            for value in values:
                text = json_text.remove_from_list(text, key, value)
            if key in record.added_keys and json_text.read_object(text).get(key) == []:
                text = json_text.remove_key(text, key)
    except (json.JSONDecodeError, json_text.NotAnObject):
        raise ChangedMeanwhile(
            f"{record.path} was edited since the set-up, and can't be read now.",
            hint="Correct the file, then try again.",
        ) from None
    return text


def _says_nothing(text: str) -> bool:
    return not json_text.read_object(text)


def _switch(daemon: Daemon | None, change: FileChange, hand: Hand) -> None:
    """Bring the file to its new state, and the engine that reads it, if any. Raises EngineError, ReloadFailed."""
    if daemon is None:
        hand.replace(change)
        return
    before, after = _read(change.path, change.before), _read(change.path, change.after)
    dropped = [key for key in (_INSECURE, _MIRRORS) if key in before and key not in after]
    if not dropped:
        hand.replace(change)
        _reload(daemon, before, after, hand)
        return
    text = files.text_of(change.path, change.after or b"")
    emptied = insert(text, _empty_lists(text, dropped)).encode("utf-8")
    hand.replace(FileChange(change.path, change.before, emptied))
    try:
        _reload(daemon, before, after, hand)
    finally:
        hand.replace(FileChange(change.path, emptied, change.after))


def _empty_lists(text: str, keys: Sequence[str]) -> list[Insertion]:
    insertions = []
    for key in keys:
        insertions.append(json_text.add_key(text, key, "[]"))
        text = insertions[-1].apply(text)
    return insertions


def _reload(daemon: Daemon, before: dict[str, Any], after: dict[str, Any], hand: Hand) -> None:
    """SIGHUP, and back when the engine says that what differs has arrived. Raises ReloadFailed."""
    if daemon.pid is None:
        return
    hand.hang_up(daemon.pid)
    end = time.monotonic() + _RELOAD_SECONDS
    while not _arrived(daemon.api.registries(), before, after):
        if time.monotonic() >= end:
            raise ReloadFailed(
                "Docker did not take the new configuration.",
                f"{daemon.config} is read as a whole; something else in it may be what dockerd refuses.",
                hint="dockerd's log says what (journalctl -u docker).",
            )
        time.sleep(_STEP_SECONDS)


def _arrived(view: RegistryView, before: dict[str, Any], after: dict[str, Any]) -> bool:
    old, new = set(before.get(_INSECURE) or ()), set(after.get(_INSECURE) or ())
    if not (new - old) <= view.insecure or (old - new) & view.insecure:
        return False
    old, new = set(before.get(_MIRRORS) or ()), set(after.get(_MIRRORS) or ())
    return all(_mirrors(view, url) for url in new - old) and not any(_mirrors(view, url) for url in old - new)


def _mirrors(view: RegistryView, url: str) -> bool:
    return url.rstrip("/") in {mirror.rstrip("/") for mirror in view.mirrors}


def _explain(words: str, image: ProofImage, step: Callable[[], None]) -> None:
    try:
        step()
    except ProofFailed as error:
        address = image.reference.partition("/")[0]
        raise ProofFailed(
            f"Docker could not {words} {address}.", error.message, hint="Is yarddesk running, and is that its address?"
        ) from error
