"""A process that dies before any one of the calls that change the disk: what was promised is there, and nothing is wrong.

Dying between two calls leaves what the kernel took; that all of it is also durable (the order of fsync and rename) is read
from the order of the calls, since a machine can't be switched off here.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.content import LATEST, REPOSITORY, image, push_blob, read_blob
from tests.support.damage import blob_file, flip_a_bit, manifest_file
from tests.unit.storage.crash_child import CONTENT, KILLED, NEW, NOTE, OLD
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.registry.locks import Gate
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.garbage import Orders

ROOT = Path(__file__).parents[3]


def run_child(scenario: str, data: Path, last: int) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "tests.unit.storage.crash_child", scenario, str(data), str(last)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert outcome.returncode in (0, KILLED), outcome.stderr
    return outcome.returncode, outcome.stdout.splitlines()


async def prepare(data: Path) -> None:
    """An older image under the tag."""
    async with FilesystemStore.open(data) as store:
        for content in (b"old", b"{}"):
            await push_blob(store, content)
        await store.put_manifest(REPOSITORY, OLD)
        await store.put_tag(REPOSITORY, LATEST, OLD.digest)


async def check(data: Path, said: Sequence[str]) -> None:
    """Every promise is kept, all that is there is whole, nothing is left over, and the push can be made again."""
    async with FilesystemStore.open(data) as store:
        ended = any(line.endswith("/run.json") for line in said[:-1])
        assert store.previous_run_ended_cleanly == ended
        for path in (data / "uploads").iterdir():
            assert path.name.count("-") == 4, f"left over: {path.name}"
        await check_content(store)
        await check_promises(store, said)
        await push_blob(store, CONTENT)
        await push_blob(store, b"{}")
        await store.put_manifest(REPOSITORY, NEW)
        await store.put_tag(REPOSITORY, LATEST, NEW.digest)
        await store.put_manifest(REPOSITORY, NOTE)
        assert await store.get_manifest(REPOSITORY, LATEST) == NEW
        assert [one.digest for one in await store.referrers(REPOSITORY, NEW.digest)] == [NOTE.digest]
        content = [*(data / "blobs").rglob("*"), *(data / "manifests").rglob("_sha256/*")]
        on_disk = sum(path.stat().st_size for path in content if path.is_file() and path.suffix != ".type")
        assert await store.used_bytes() == on_disk


async def check_content(store: FilesystemStore) -> None:
    async for digest in store.blobs():
        assert Digest.of(await read_blob(store, digest)) == digest
    async for repository, digest in store.manifests():
        manifest = await store.get_manifest(repository, digest)
        assert manifest in (OLD, NEW, NOTE)
        if manifest.subject is not None:
            assert digest in {one.digest for one in await store.referrers(repository, manifest.subject.digest)}


async def check_promises(store: FilesystemStore, said: Sequence[str]) -> None:
    if "acked blob" in said:
        assert await store.blob_size(Digest.of(CONTENT)) == len(CONTENT)
    if "acked manifest" in said:
        assert await store.get_manifest(REPOSITORY, NEW.digest) == NEW
    if "acked tag" in said:
        assert (await store.resolve(REPOSITORY, LATEST)).digest == NEW.digest
    if "acked note" in said:
        assert [one.digest for one in await store.referrers(REPOSITORY, NEW.digest)] == [NOTE.digest]
    if "acked deletion" in said:
        with pytest.raises(NotFound):
            await store.resolve(REPOSITORY, OLD.digest)
    if "acked blob deletion" in said:
        assert await store.blob_size(Digest.of(b"old")) is None


async def check_tag(data: Path, scenario: str, said: Sequence[str]) -> None:
    """The tag names the old image or the new one, never nothing; a deletion may have taken it."""
    async with FilesystemStore.open(data) as store:
        try:
            named = (await store.resolve(REPOSITORY, LATEST)).digest
        except NotFound:
            assert scenario == "delete"
        else:
            assert named in (OLD.digest, NEW.digest)


async def died_before_each_call(scenario: str, tmp_path: Path) -> list[tuple[Path, list[str]]]:
    """A data folder, as `before` was, for each call that a scenario was killed at, and what had been said by then."""
    subprocess.run(["cp", "-a", tmp_path / "before", tmp_path / "whole"], check=True)
    code, said = await asyncio.to_thread(run_child, scenario, tmp_path / "whole", 0)
    calls = [line for line in said if not line.startswith("acked")]
    assert code == 0
    assert len(calls) > (30 if scenario == "push" else 5)
    folders = [tmp_path / f"died-{number}" for number in range(1, len(calls) + 1)]
    for folder in folders:
        subprocess.run(["cp", "-a", tmp_path / "before", folder], check=True)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run_child, [scenario] * len(folders), folders, range(1, len(folders) + 1)))
    assert {code for code, _ in outcomes} == {KILLED}
    return [(folder, said) for folder, (_, said) in zip(folders, outcomes, strict=True)]


@pytest.mark.parametrize("scenario", ["push", "delete"])
async def test_dying_before_any_call_keeps_every_promise(scenario: str, tmp_path: Path) -> None:
    await prepare(tmp_path / "before")
    for folder, said in await died_before_each_call(scenario, tmp_path):
        copy = folder.with_name(f"{folder.name}-again")
        subprocess.run(["cp", "-a", folder, copy], check=True)
        await check_tag(copy, scenario, said)
        await check(folder, said)


async def test_dying_while_damage_is_mended_neither_loses_it_nor_serves_it(tmp_path: Path) -> None:
    await prepare(tmp_path / "before")
    blob = Digest.of(b"old")
    flip_a_bit(blob_file(tmp_path / "before", blob))
    flip_a_bit(manifest_file(tmp_path / "before", REPOSITORY, OLD.digest))
    wrong = {
        blob: blob_file(tmp_path / "before", blob).read_bytes(),
        OLD.digest: manifest_file(tmp_path / "before", REPOSITORY, OLD.digest).read_bytes(),
    }
    for folder, said in await died_before_each_call("mend", tmp_path):
        async with FilesystemStore.open(folder) as store:
            if "acked mended blob" in said:
                assert await read_blob(store, blob) == b"old"
            else:
                try:
                    assert await read_blob(store, blob) == b"old"
                except NotFound:
                    await push_blob(store, b"old")
            try:
                assert await store.get_manifest(REPOSITORY, LATEST) == OLD
            except NotFound:
                assert "acked mended manifest" not in said
                await store.put_manifest(REPOSITORY, OLD)
            assert await store.get_manifest(REPOSITORY, LATEST) == OLD
            assert await read_blob(store, blob) == b"old"
            assert await store.used_bytes() == len(b"old") + len(b"{}") + len(OLD.content)
        kept = {path.name.split("-")[1].replace("_", ":"): path for path in (folder / "quarantine").iterdir()}
        assert {digest: path.read_bytes() for digest, path in kept.items()} == wrong


async def test_dying_while_garbage_is_collected_loses_nothing_else(tmp_path: Path) -> None:
    await prepare(tmp_path / "before")
    async with FilesystemStore.open(tmp_path / "before") as store:
        await push_blob(store, b"loose")
        await push_blob(store, b"note")
        await store.put_manifest(REPOSITORY, image(config=b"note"))
    for folder, said in await died_before_each_call("collect", tmp_path):
        async with FilesystemStore.open(folder) as store:
            assert await store.get_manifest(REPOSITORY, LATEST) == OLD
            for manifest in [each async for each in store.manifests()]:
                for each in (await store.get_manifest(*manifest)).blobs:
                    assert Digest.of(await read_blob(store, each.digest)) == each.digest
            collected = await store.garbage.collect(Orders(Gate().closed, lambda *_: None, 0, untagged=True))
            assert "acked collection" not in said or collected.blobs == collected.manifests == 0
            assert await store.used_bytes() == len(b"old") + len(b"{}") + len(OLD.content)
            assert await store.get_manifest(REPOSITORY, LATEST) == OLD


async def test_what_gets_its_name_is_durable_and_so_is_the_name_before_the_promise(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await prepare(data)
    _, said = await asyncio.to_thread(run_child, "push", data, 0)
    durable: set[str] = set()
    unsynced_folders: set[str] = set()
    promises = 0
    for line in said:
        call, _, what = line.partition(" ")
        if call in ("write", "open"):
            durable.discard(what.partition(" -> ")[0])
        elif call == "fsync":
            durable.add(what)
            unsynced_folders.discard(what)
        elif call == "replace":
            source, _, target = what.partition(" -> ")
            assert source in durable, f"{source} was renamed before its bytes were durable"
            unsynced_folders.add(str(Path(target).parent))
        elif call == "mkdir":
            unsynced_folders.add(str(Path(what).parent))
        elif call == "acked":
            promises += 1
            assert unsynced_folders == set(), f"{line} was promised before these names were durable"
    assert promises == 4
