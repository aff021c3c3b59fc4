from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from tests.support.images import build_image, build_index, write_docker_archive
from tests.support.pictures import Picture, write_png
from tests.support.ports import LOOPBACK, held_port, hold_port
from tests.support.programs import CommandFailed, CommandLine, MissingTool, Program, clean_environment, tool
from tests.support.waiting import DeadlineMissed, until, until_async


def test_the_same_seed_gives_the_same_image_and_another_shares_no_layer() -> None:
    first, again, other = build_image("a"), build_image("a"), build_image("b")
    assert first.manifest.digest == again.manifest.digest
    assert not {layer.digest for layer in first.layers} & {layer.digest for layer in other.layers}


def test_an_index_lists_children_before_itself() -> None:
    index = build_index("a")
    assert [content.digest for content in index.manifests][-1] == index.manifest.digest
    assert len(index.manifests) == 3


def test_layers_have_about_the_size_asked_for() -> None:
    (layer,) = build_image("a", [100_000]).layers
    assert 100_000 < len(layer.content) < 103_000


def test_an_archive_for_docker_is_the_same_each_time(tmp_path: Path) -> None:
    archives = [write_docker_archive(tmp_path / name, build_image("a"), "app:1").read_bytes() for name in ("x", "y")]
    assert archives[0] == archives[1]


def test_waiting_ends_with_the_deadline_and_says_for_what() -> None:
    with pytest.raises(DeadlineMissed, match="the tide"):
        until(lambda: False, 0.01, "the tide")


async def test_waiting_asks_coroutines_too() -> None:
    answers = iter([0, 0, 7])

    async def condition() -> int:
        return next(answers)

    assert await until_async(condition) == 7


def test_a_missing_tool_is_a_failure_with_its_name() -> None:
    with pytest.raises(MissingTool, match="no-such-tool"):
        tool("no-such-tool")


def test_a_program_that_ends_early_shows_what_it_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('the reason')"]
    program = Program(command, environment=clean_environment(tmp_path), log=tmp_path / "log")
    program.start()
    with pytest.raises(CommandFailed, match="the reason"):
        program.wait_for_line("ready")


def test_a_command_that_fails_shows_what_it_printed(tmp_path: Path) -> None:
    line = CommandLine([sys.executable], environment=clean_environment(tmp_path))
    with pytest.raises(CommandFailed, match="status 3"):
        line.run("-c", "raise SystemExit(3)")


def test_a_picture_becomes_a_png_file(tmp_path: Path) -> None:
    picture = Picture(2, 1, b"\xff\0\0\0\0\xff")
    write_png(tmp_path / "two.png", picture)
    assert picture.pixel(1, 0) == (0, 0, 255)
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_held_port_refuses_connections_until_who_names_it_listens_and_again_afterwards() -> None:
    with held_port("::1") as port:
        for _ in range(3):
            for host in (LOOPBACK, "::1"):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port), timeout=10)
            with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port), timeout=10):
                pass


def test_a_port_is_held_as_long_as_its_owner_lives() -> None:
    class Owner: ...

    owner = Owner()
    port = hold_port(owner)
    assert not _can_bind(port)
    del owner
    until(lambda: _can_bind(port), what="nobody has it")  # somebody else may have got it at once


def _can_bind(port: int) -> bool:
    with socket.socket() as other:  # without SO_REUSEADDR
        try:
            other.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True
