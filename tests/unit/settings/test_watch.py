"""A change of the settings file is heard of, whichever way it's made."""

import asyncio
import errno
import os
import time
from contextlib import asynccontextmanager

import pytest
from watchfiles import awatch

from yarddesk.settings import watch
from yarddesk.settings.watch import file_changes

WAIT_SECONDS = 20.0


@asynccontextmanager
async def watching(path):
    """Gives a function that waits until a change of the file is heard of, made by `change` as often as need be."""
    stop, heard = asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        async for _ in file_changes(path, stop):
            heard.set()

    async def hears(change) -> None:
        heard.clear()
        async with asyncio.timeout(WAIT_SECONDS):
            # The watch begins in its own time, so the change is made again until it's heard of.
            while not heard.is_set():
                change()
                try:
                    async with asyncio.timeout(0.5):
                        await heard.wait()
                except TimeoutError:
                    continue

    task = asyncio.create_task(watch())
    try:
        yield hears
    finally:
        stop.set()
        await task


def appender(path):
    def append() -> None:
        with path.open("a") as stream:
            stream.write("# more\n")

    return append


async def test_writing_and_replacing_the_file(tmp_path):
    path = tmp_path / "new" / "config.yaml"

    def replace() -> None:
        (tmp_path / "other").write_text("a: 1\n")
        os.replace(tmp_path / "other", path)

    async with watching(path) as hears:
        await hears(lambda: path.parent.exists() and path.write_text("# x\n"))
        await hears(appender(path))
        await hears(replace)


@pytest.mark.parametrize("kind", ["a link to the file", "links as a ConfigMap has them"])
async def test_what_a_link_leads_to(tmp_path, kind):
    target = tmp_path / "elsewhere" / "config.yaml"
    target.parent.mkdir()
    target.write_text("a: 1\n")
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    if kind == "a link to the file":
        path.symlink_to(target)
    else:
        (path.parent / "..data").symlink_to(target.parent)
        path.symlink_to("..data/config.yaml")
    versions = iter(range(1000))

    def another_version() -> None:
        folder = tmp_path / f"version-{next(versions)}"
        folder.mkdir()
        (folder / "config.yaml").write_text(f"# {folder}\n")
        if kind == "a link to the file":
            os.symlink(folder / "config.yaml", path.parent / "next")
            os.replace(path.parent / "next", path)
        else:
            os.symlink(folder, path.parent / "next")
            os.replace(path.parent / "next", path.parent / "..data")

    async with watching(path) as hears:
        await hears(appender(target))
        await hears(another_version)
        await hears(another_version)


async def test_a_file_that_cannot_be_watched_is_looked_at_again_later(tmp_path, monkeypatch, caplog):
    path = tmp_path / "config.yaml"
    path.write_text("one")
    watched = iter([OSError(errno.EMFILE, "Too many open files")])

    async def few_watches(*folders, **options):
        for error in watched:
            raise error
        async for changes in awatch(*folders, **options):
            yield changes

    monkeypatch.setattr(watch, "awatch", few_watches)
    monkeypatch.setattr(watch, "_AGAIN_SECONDS", 0.01)
    async with watching(path) as hears:
        await hears(lambda: path.write_text(f"another, {time.monotonic()}"))
    assert "can't be watched" in caplog.text


async def test_a_folder_that_can_not_be_made_ends_nothing_and_is_looked_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(watch, "_NO_FOLDER_SECONDS", 0.01)
    path = tmp_path / "in the way" / "yarddesk" / "config.yaml"
    path.parent.parent.write_text("")

    def make_it() -> None:
        path.parent.parent.unlink(missing_ok=True)
        path.parent.mkdir(parents=True)
        path.write_text("one")

    made = iter([make_it])
    async with watching(path) as hears:
        await hears(lambda: next(made, lambda: path.write_text(f"another, {time.monotonic()}"))())
        assert not caplog.text


async def test_what_changed_while_the_watch_began_is_heard_of_soon(tmp_path, monkeypatch):
    path, stop, heard = tmp_path / "config.yaml", asyncio.Event(), []
    path.write_text("one")
    beginnings = iter([lambda: path.write_text("another")])

    async def slow_to_begin(*folders, **options):
        for change in beginnings:
            change()
        async for changes in awatch(*folders, **options):
            yield changes

    monkeypatch.setattr(watch, "awatch", slow_to_begin)
    monkeypatch.setattr(watch, "_LOOK_MILLISECONDS", 600_000)
    async with asyncio.timeout(WAIT_SECONDS):
        async for _ in file_changes(path, stop):
            heard.append(path.read_text())
            if len(heard) == 2:
                stop.set()
    assert heard == ["one", "another"]


@pytest.mark.parametrize("empty", [lambda path: path.write_text(""), lambda path: path.unlink()])
async def test_a_file_that_is_written_anew_is_not_read_before_something_stands_there(tmp_path, monkeypatch, empty):
    path, stop, heard = tmp_path / "config.yaml", asyncio.Event(), []
    path.write_text("one")

    async def written_on(stop):
        path.write_text("another")

    monkeypatch.setattr(watch, "_written_on", written_on)
    async with asyncio.timeout(WAIT_SECONDS):
        async for _ in file_changes(path, stop):
            heard.append(path.read_text())
            if len(heard) == 1:
                empty(path)
            else:
                stop.set()
    assert heard == ["one", "another"]


async def test_what_changed_while_the_first_change_was_put_in_force_is_heard_of_soon(tmp_path, monkeypatch):
    path, stop, heard = tmp_path / "config.yaml", asyncio.Event(), []
    monkeypatch.setattr(watch, "_LOOK_MILLISECONDS", 600_000)
    contents = iter(["one", "another", "the last"])
    path.write_text(next(contents))
    async with asyncio.timeout(WAIT_SECONDS):
        async for _ in file_changes(path, stop):
            heard.append(path.read_text())
            if (content := next(contents, None)) is None:
                stop.set()
            else:
                path.write_text(content)
    assert heard == ["one", "another", "the last"]
