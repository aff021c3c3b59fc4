"""`yarddesk setup`: which container engines are here, and configuring one."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from yarddesk.cli.options import settings_of
from yarddesk.cli.output import complain, print_json, print_table
from yarddesk.control.client import ControlClient
from yarddesk.control.instance import NoInstance
from yarddesk.engines import EngineEnvironment, detect
from yarddesk.engines.model import ContainerEngine, EngineStatus, RegistryAddress
from yarddesk.service.addresses import ENGINE_STATE, engine_address, engine_address_of_url
from yarddesk.settings.model import Settings


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "show which container engines are here, and set one up to use yarddesk"
    setup = commands.add_parser("setup", parents=[common], help=text, description=text)
    setup.add_argument("engine", nargs="?", metavar="ENGINE", help="docker, podman, …; without it all are shown")
    what = setup.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="show the change and make none")
    what.add_argument("--undo", action="store_true", help="take the change back")
    setup.add_argument("--json", action="store_true", help="for programs")
    setup.set_defaults(run=_setup)


def _setup(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    url = _running_at(settings)
    address = engine_address_of_url(url) if url else engine_address(settings.server)
    engines = {engine.key: engine for engine in detect(EngineEnvironment.current(), settings.data_dir / ENGINE_STATE)}
    if options.engine is None:
        return asyncio.run(_show(list(engines.values()), address, as_json=options.json))
    engine = engines.get(options.engine)
    if engine is None:
        complain(f"There is no engine “{options.engine}”; there is: {', '.join(engines)}.")
        return 2
    if options.undo:
        return asyncio.run(_undo(engine, as_json=options.json))
    if url is None and not options.dry_run:
        raise NoInstance(settings.data_dir)
    return asyncio.run(_apply(engine, address, dry_run=options.dry_run, as_json=options.json))


def _running_at(settings: Settings) -> str | None:
    """Where the instance answers, None where none does: one that was killed has left its address behind."""
    try:
        with ControlClient(settings.data_dir, settings.server.certfile) as client:
            client.get("status")
            return client.instance.url
    except NoInstance:
        return None


async def _show(engines: list[ContainerEngine], address: RegistryAddress, *, as_json: bool) -> int:
    statuses = [await engine.status(address) for engine in engines]
    if as_json:
        print_json({"address": str(address), "engines": [_document(status) for status in statuses]})
        return 0
    print_table(
        ("ENGINE", "STATE", "VERSION", ""),
        [
            (status.key, status.state.value, status.version, f"{status.sentence} {status.next_step}")
            for status in statuses
        ],
        "No container engine is known for this system.",
    )
    return 0


async def _apply(engine: ContainerEngine, address: RegistryAddress, *, dry_run: bool, as_json: bool) -> int:
    plan = await engine.plan(address)
    if dry_run:
        if as_json:
            print_json({"engine": plan.engine, "address": str(address), "diff": plan.diff(), "reload": plan.reload})
        else:
            print(plan.diff() or f"{plan.title} is set up for {address} already.", end="" if plan.diff() else "\n")
            for note in (plan.reload, *plan.notes):
                if note:
                    complain(note)
        return 0
    if not as_json:
        print(plan.diff(), end="")
        for note in plan.notes:
            complain(note)
    proof = await engine.apply(plan)
    sentence = proof.sentence if proof else f"{plan.title} does not run; it reads this when it starts."
    if as_json:
        print_json({"engine": plan.engine, "address": str(address), "diff": plan.diff(), "proved": proof is not None})
    else:
        print(f"{plan.title} is set up for {address}. {sentence}")
    return 0


async def _undo(engine: ContainerEngine, *, as_json: bool) -> int:
    undone = await engine.undo()
    if as_json:
        files = [str(change.path) for change in undone.changes]
        print_json({"engine": undone.engine, "files": files, "to_the_byte": undone.to_the_byte})
    else:
        print(undone.sentence)
    return 0


def _document(status: EngineStatus) -> dict[str, Any]:
    def shown(path: Path | None) -> str | None:
        return str(path) if path else None

    return {
        "engine": status.key,
        "title": status.title,
        "state": status.state.value,
        "sentence": status.sentence,
        "next_step": status.next_step,
        "version": status.version,
        "running": status.running,
        "socket": shown(status.socket),
        "config": shown(status.config),
        "undoable": status.undoable,
    }
