"""Root's files are changed by a shell of root's; here the shell runs as whoever runs the tests."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.programs import tool
from tests.unit.engines.conftest import Machine
from yarddesk.engines import ChangedMeanwhile, EngineError, FileChange, hands
from yarddesk.engines.hands import Hand, hand_for


@pytest.fixture
def hand(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hands, "_is_ours", lambda path, pid: False)
    with hand_for(replace(machine.environment, elevate=(tool("env"),)), Path("/etc/docker/daemon.json"), None) as found:
        yield found


def test_a_file_is_replaced_with_owner_and_mode_kept(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "with blanks and ' quotes.json"
    path.write_bytes(b"old\r\n")
    path.chmod(0o640)
    os.chown(path, 0, 4)
    content = bytes(range(256)) * 300
    hand.replace(FileChange(path, b"old\r\n", content))
    assert path.read_bytes() == content
    assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o640, 4)
    assert sorted(os.listdir(tmp_path)) == ["machine", path.name]


def test_a_file_is_made_with_its_folder_and_removed_again(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "docker/daemon.json"
    hand.replace(FileChange(path, None, b"{}\n"))
    assert path.read_bytes() == b"{}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    hand.replace(FileChange(path, b"{}\n", None))
    assert not path.exists()


@pytest.mark.parametrize("after", [b"new", None])
def test_a_file_that_changed_meanwhile_is_left_alone(hand: Hand, tmp_path: Path, after: bytes | None) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(b"theirs")
    for before in (b"ours", None):
        with pytest.raises(ChangedMeanwhile):
            hand.replace(FileChange(path, before, after))
    assert path.read_bytes() == b"theirs"


def test_what_fails_is_said_in_the_tools_words(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="could not be changed") as caught:
        hand.replace(FileChange(tmp_path / "file/daemon.json", None, b"{}"))
    assert "mkdir" in caught.value.message
    hand.replace(FileChange(tmp_path / "after/daemon.json", None, b"{}"))


def test_a_process_is_told(hand: Hand) -> None:
    waiting = subprocess.Popen([tool("sleep"), "60"])
    hand.hang_up(waiting.pid)
    assert waiting.wait(10) == -signal.SIGHUP
    with pytest.raises(EngineError, match="could not be told"):
        hand.hang_up(waiting.pid)


@pytest.mark.parametrize("status", [126, 127, 1])
def test_a_person_who_says_no_ends_it(machine: Machine, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(hands, "_is_ours", lambda path, pid: False)
    refusing = machine.folder / "bin/refuse"
    refusing.write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
    refusing.chmod(0o755)
    environment = replace(machine.environment, elevate=(str(refusing),))
    with pytest.raises(EngineError, match="was not changed"), hand_for(environment, Path("/etc/docker/x"), None):
        pytest.fail("nobody allowed it")


def test_without_anybody_to_ask_the_way_through_sudo_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "_is_ours", lambda path, pid: False)
    with pytest.raises(EngineError) as caught, hand_for(machine.environment, Path("/etc/docker/x"), None):
        pytest.fail("nobody allowed it")
    assert "sudo yarddesk setup docker" in caught.value.hint
