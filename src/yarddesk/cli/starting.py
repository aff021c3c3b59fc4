"""Starting an instance: the desktop app, or `serve` without it."""

import argparse
import asyncio
import contextlib
import importlib.util
import os

from yarddesk.cli.options import config_option, overrides, settings_of
from yarddesk.cli.output import complain
from yarddesk.control.client import ControlClient, ControlError
from yarddesk.control.instance import NoInstance
from yarddesk.service.logs import configure_logging
from yarddesk.service.memory import spare_memory
from yarddesk.service.reload import SettingsSource
from yarddesk.settings.model import Settings


def serve(options: argparse.Namespace) -> int:
    """The same registry and sync worker without Qt."""
    # A yard is loaded where one starts: no other command, of which one may follow another, waits for that.
    from yarddesk.service.headless import serve_until_stopped

    settings = settings_of(options)
    configure_logging(settings)
    spare_memory()
    with contextlib.suppress(asyncio.CancelledError):  # a signal before requests were answered
        asyncio.run(serve_until_stopped(settings, _source(options)))
    return 0


def desktop(options: argparse.Namespace) -> int:
    """The desktop app: tray icon, window, registry and sync worker on one loop."""
    settings = settings_of(options)
    if _raise_window(settings):
        return 0
    problem = _no_desktop()
    if problem:
        complain(f"{problem} `yarddesk serve` runs the registry and the sync worker without a window.")
        return 1
    configure_logging(settings)
    # Qt is looked for, and loaded, for the desktop app alone: `serve` runs where it is not installed.
    from yarddesk.desktop.app import run_desktop
    from yarddesk.service.leaving import last_yard

    source = _source(options)
    return run_desktop(
        settings,
        lambda: last_yard(settings, source),
        minimized=options.minimized,
        raise_window=lambda: _raise_window(settings),
    )


def _source(options: argparse.Namespace) -> SettingsSource:
    return SettingsSource(config_option(options), overrides(options), dict(os.environ))


def _no_desktop() -> str | None:
    if importlib.util.find_spec("PySide6") is None or importlib.util.find_spec("qasync") is None:
        return "The desktop app needs PySide6 and qasync: pip install 'yarddesk[desktop]'."
    from yarddesk.desktop.display import display_problem

    return display_problem(os.environ)


def _raise_window(settings: Settings) -> bool:
    """Whether an instance that runs on this data folder brought its window to the front."""
    try:
        with ControlClient(settings.data_dir, settings.server.certfile) as client:
            client.post("show")
    except (NoInstance, ControlError):
        # Nothing runs there, or it has no window: the lock will tell which, and name the holder.
        return False
    return True
