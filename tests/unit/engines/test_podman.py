"""Podman's drop-in file: what is planned, written and put back beside what others wrote."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engines.conftest import ADDRESS, Machine
from yarddesk.engines import (
    ChangedMeanwhile,
    ConfigurationInvalid,
    ContainerEngine,
    Ended,
    EngineError,
    EngineNotFound,
    RegistryAddress,
    SetupState,
    find,
)
from yarddesk.engines.registries_conf import remove_tables, render

OURS = {"localhost:5050", "127.0.0.1:5050"}


@pytest.fixture
def podman(machine: Machine) -> ContainerEngine:
    machine.install("podman", "buildah", "skopeo")
    machine.change(user=1000)
    return find("podman", machine.environment, machine.state_dir)


@pytest.fixture
def folder(machine: Machine) -> Path:
    return machine.environment.home / ".config/containers"


@pytest.fixture
def drop_in(folder: Path) -> Path:
    return folder / "registries.conf.d/50-yarddesk.conf"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def tables(path: Path) -> dict[str, dict[str, object]]:
    return {table["location"]: table for table in tomllib.loads(path.read_text())["registry"]}


async def set_up(engine: ContainerEngine, address: RegistryAddress = ADDRESS) -> None:
    await engine.apply(await engine.plan(address), prove=False)


async def test_a_machine_without_any_of_the_three_says_so(machine: Machine) -> None:
    engine = find("podman", machine.environment, machine.state_dir)
    assert (await engine.status(ADDRESS)).state is SetupState.ABSENT
    with pytest.raises(EngineNotFound):
        await engine.plan(ADDRESS)


async def test_a_file_of_our_own_names_the_address_in_both_ways(
    podman: ContainerEngine, machine: Machine, drop_in: Path
) -> None:
    before = machine.everything()
    status = await podman.status(ADDRESS)
    assert (status.state, status.takes_address, status.version) == (SetupState.NOT_SET_UP, False, "4.3.1")
    await set_up(podman)
    assert tables(drop_in) == {name: {"location": name, "insecure": True} for name in OURS}
    assert (await podman.status(ADDRESS)).state is SetupState.SET_UP
    assert (await podman.plan(ADDRESS)).empty
    undone = await podman.undo()
    assert undone.to_the_byte
    assert machine.everything() == before | {str(machine.state_dir): (0o40700, None)}


async def test_for_root_the_file_is_the_systems(machine: Machine) -> None:
    machine.install("podman")
    engine = find("podman", machine.environment, machine.state_dir)
    await set_up(engine)
    assert tables(machine.environment.etc / "containers/registries.conf.d/50-yarddesk.conf").keys() == OURS


async def test_a_main_file_in_the_home_makes_root_use_the_home(machine: Machine, folder: Path, drop_in: Path) -> None:
    machine.install("podman")
    write(folder / "registries.conf", "")
    await set_up(find("podman", machine.environment, machine.state_dir))
    assert drop_in.exists()


async def test_another_address_is_written_as_it_is(podman: ContainerEngine, drop_in: Path) -> None:
    await set_up(podman, RegistryAddress.parse("10.0.0.1:5000"))
    assert tables(drop_in).keys() == {"10.0.0.1:5000"}


async def test_settings_of_others_for_the_address_are_kept(
    podman: ContainerEngine, folder: Path, drop_in: Path
) -> None:
    text = (
        '[[registry]]\nlocation = "localhost:5050"\n[[registry.mirror]]\nlocation = "mirror.example"\ninsecure = true\n'
    )
    write(folder / "registries.conf.d/10-own.conf", text)
    plan = await podman.plan(ADDRESS)
    assert any("localhost:5050" in note for note in plan.notes)
    await podman.apply(plan, prove=False)
    assert tables(drop_in)["localhost:5050"] == {
        "location": "localhost:5050",
        "insecure": True,
        "mirror": [{"location": "mirror.example", "insecure": True}],
    }


async def test_entries_of_others_are_enough(podman: ContainerEngine, folder: Path) -> None:
    text = "\n".join(f'[[registry]]\nlocation = "{name}"\ninsecure = true' for name in OURS)
    write(folder / "registries.conf", text)
    assert (await podman.plan(ADDRESS)).empty


async def test_the_old_format_is_read(podman: ContainerEngine, folder: Path) -> None:
    write(folder / "registries.conf", f"[registries.insecure]\nregistries = {sorted(OURS)}\n")
    assert (await podman.plan(ADDRESS)).empty


@pytest.mark.parametrize(
    "text",
    [
        "nonsense = [\n",
        "registry = 1\n",
        "registries = 1\n",
        '[[registry]]\nlocation = "a"\n[registries.search]\nregistries = []\n',
    ],
)
async def test_a_file_that_the_engine_refuses_is_named(podman: ContainerEngine, folder: Path, text: str) -> None:
    write(folder / "registries.conf", text)
    with pytest.raises(ConfigurationInvalid, match=r"registries\.conf"):
        await podman.plan(ADDRESS)
    assert (await podman.status(ADDRESS)).state is SetupState.BLOCKED


async def test_a_later_file_that_would_win_is_named(podman: ContainerEngine, folder: Path) -> None:
    write(folder / "registries.conf.d/90-own.conf", '[[registry]]\nlocation = "localhost:5050"\n')
    with pytest.raises(EngineError, match=r"90-own\.conf"):
        await podman.plan(ADDRESS)


@pytest.mark.parametrize("more", ["blocked = true", 'prefix = "localhost:5050"\nlocation = "other.example"'])
async def test_what_forbids_or_moves_the_address_is_not_overruled(
    podman: ContainerEngine, folder: Path, more: str
) -> None:
    location = "" if "location" in more else 'location = "localhost:5050"\n'
    write(folder / "registries.conf", f"[[registry]]\n{location}{more}\n")
    with pytest.raises(EngineError, match=r"registries\.conf says otherwise"):
        await podman.plan(ADDRESS)


async def test_a_file_of_that_name_that_was_there_gets_its_bytes_back(podman: ContainerEngine, drop_in: Path) -> None:
    text = '# mine\n[[registry]]\nlocation = "a.example"'
    write(drop_in, text)
    await set_up(podman)
    assert tables(drop_in).keys() == OURS | {"a.example"}
    assert (await podman.undo()).to_the_byte
    assert drop_in.read_text() == text


async def test_a_new_port_takes_the_place_of_the_old_one(podman: ContainerEngine, drop_in: Path) -> None:
    await set_up(podman)
    await set_up(podman, RegistryAddress.parse("localhost:5051"))
    assert tables(drop_in).keys() == {"localhost:5051", "127.0.0.1:5051"}
    assert (await podman.undo()).to_the_byte
    assert not drop_in.exists()


async def test_what_others_added_to_our_file_stays(podman: ContainerEngine, drop_in: Path) -> None:
    await set_up(podman)
    other = '# theirs\n[[registry]]\nlocation = "b.example"\n'
    write(drop_in, drop_in.read_text() + other)
    undone = await podman.undo()
    assert not undone.to_the_byte
    assert drop_in.read_text() == other


async def test_our_tables_are_found_where_they_were_moved(podman: ContainerEngine, drop_in: Path) -> None:
    await set_up(podman)
    first, second = (render({"location": name, "insecure": True}) for name in sorted(OURS))
    write(drop_in, f'{first}[[registry]]\nlocation = "b.example"\n# of the next\n{second}\n[more]\nx = 1\n')
    await podman.undo()
    assert drop_in.read_text() == '[[registry]]\nlocation = "b.example"\n# of the next\n\n[more]\nx = 1\n'


async def test_our_tables_edited_by_hand_are_left_to_the_hand(podman: ContainerEngine, drop_in: Path) -> None:
    await set_up(podman)
    write(drop_in, drop_in.read_text().replace("insecure = true", "insecure = true\nblocked = false", 1))
    before = drop_in.read_text()
    with pytest.raises(ChangedMeanwhile, match="by hand"):
        await podman.undo()
    assert drop_in.read_text() == before


async def test_a_set_up_broken_off_while_it_is_proved_is_put_back(machine: Machine, drop_in: Path) -> None:
    machine.install("podman")
    reached, go_on = threading.Event(), threading.Event()

    def execute(command: Sequence[str], environ: Mapping[str, str], limit_seconds: float) -> Ended:
        reached.set()
        assert go_on.wait(30)
        return Ended(0, "", "")

    engine = find("podman", machine.change(user=1000, execute=execute), machine.state_dir)
    plan = await engine.plan(RegistryAddress.parse("localhost:1"))
    applying = asyncio.create_task(engine.apply(plan))
    await asyncio.to_thread(reached.wait, 30)
    assert drop_in.exists()
    applying.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert not drop_in.exists()
    assert not list(machine.state_dir.iterdir())


async def test_a_program_that_hangs_is_named(machine: Machine, drop_in: Path) -> None:
    machine.install("podman")

    def execute(command: Sequence[str], environ: Mapping[str, str], limit_seconds: float) -> Ended:
        raise subprocess.TimeoutExpired(list(command), limit_seconds)

    engine = find("podman", machine.change(user=1000, execute=execute), machine.state_dir)
    plan = await engine.plan(RegistryAddress.parse("localhost:1"))
    with pytest.raises(EngineError, match="podman did not end within 60 s"):
        await engine.apply(plan)
    assert not drop_in.exists()


async def test_a_service_elsewhere_is_not_ours_to_set_up(machine: Machine) -> None:
    machine.install("podman")
    environ = {**machine.environment.environ, "CONTAINER_HOST": "ssh://far/run/podman.sock"}
    engine = find("podman", machine.change(environ=environ), machine.state_dir)
    with pytest.raises(EngineError, match="CONTAINER_HOST"):
        await engine.plan(ADDRESS)


names = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=8)
scalars = st.booleans() | st.integers(-(2**60), 2**60) | names
plain_tables = st.dictionaries(
    names.filter(lambda key: key != "mirror"), scalars | st.lists(names, max_size=3), max_size=4
)


@given(plain_tables, st.lists(plain_tables.filter(bool), max_size=2))
def test_a_table_reads_back_as_it_was_written(table: dict[str, object], mirrors: list[dict[str, object]]) -> None:
    whole = {"location": "a"} | table | ({"mirror": mirrors} if mirrors else {})
    assert tomllib.loads(render(whole)) == {"registry": [whole]}


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True), st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_removing_tables_leaves_the_others(there: list[str], gone: set[str]) -> None:
    text = "# head\n" + "".join(f"# of {name}\n" + render({"location": name, "insecure": True}) for name in there)
    left = remove_tables(text, [{"location": name, "insecure": True} for name in gone])
    assert left is not None
    assert [table["location"] for table in tomllib.loads(left).get("registry", [])] == [
        n for n in there if n not in gone
    ]
    assert left.count("#") == text.count("#")
