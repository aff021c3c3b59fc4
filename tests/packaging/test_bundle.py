"""Briefcase takes the bundle's settings, for every platform that they name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from briefcase.config import DraftAppConfig
from briefcase.console import Console

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))

import bundle  # noqa: E402

# One after the other: each puts a file into the checkout for a moment.
pytestmark = pytest.mark.xdist_group("bundle")


def taken(*arguments: str) -> DraftAppConfig:
    """The app's settings as Briefcase keeps them for a command."""
    command, _ = bundle.prepare(list(arguments), Console())
    app: DraftAppConfig = command.apps["yarddesk"]
    return app


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["project"]
    return settings


PLATFORMS = [("linux", "system"), ("linux", "flatpak"), ("macOS", "app"), ("windows", "app")]


@pytest.mark.parametrize(("platform", "form"), PLATFORMS)
def test_briefcase_takes_the_settings(platform: str, form: str) -> None:
    app = taken("create", platform, form)
    assert str(app.version) == project()["version"]
    assert app.bundle_identifier == "io.github.yarddesk.yarddesk"
    assert (app.license, app.license_files) == ("MIT", ["LICENSE"])
    assert app.requires == project()["dependencies"] + project()["optional-dependencies"]["desktop"]
    assert not app.console_app


def test_what_a_bundle_is_made_of_is_there() -> None:
    app = taken("create", "linux", "system")
    assert app.sources is not None
    assert all((ROOT / source).is_dir() for source in app.sources)
    assert (ROOT / "src" / app.main_module() / "__main__.py").is_file()


def test_each_platform_gets_its_own_settings() -> None:
    assert taken("create", "macOS", "app").min_os_version == "13.0"
    assert taken("create", "windows", "app").system_installer is False
    assert taken("create", "linux", "flatpak").finish_arg["talk-name=org.freedesktop.secrets"] is True
    assert "libxcb-cursor0" in taken("create", "linux", "system").debian["system_runtime_requires"]


def test_a_debian_package_asks_only_for_what_the_set_up_knows() -> None:
    sys.path.insert(0, str(ROOT / "packaging" / "setup"))
    from needs import FONT_PACKAGE, QT_LIBRARIES

    asked = set(taken("create", "linux", "system").debian["system_runtime_requires"])
    assert asked <= {*QT_LIBRARIES.values(), FONT_PACKAGE}


def test_nothing_is_left_in_the_checkout() -> None:
    taken("create", "linux", "system")
    assert list(ROOT.glob(".briefcase-*")) == []


def test_the_program_answers_as_briefcase_does() -> None:
    program = [sys.executable, str(ROOT / "packaging" / "bundle.py"), "--version"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
