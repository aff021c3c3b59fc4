"""The desktop entry and the AppStream metadata, by their own validators."""

from __future__ import annotations

import configparser
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.support.programs import tool

ROOT = Path(__file__).resolve().parents[2]
NAME = "io.github.yarddesk.yarddesk"
ENTRY = ROOT / "packaging" / "linux" / f"{NAME}.desktop"
METAINFO = ROOT / "packaging" / "linux" / f"{NAME}.metainfo.xml"


def test_the_desktop_entry_is_valid() -> None:
    done = subprocess.run([tool("desktop-file-validate"), str(ENTRY)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_metadata_are_valid() -> None:
    command = [tool("appstreamcli"), "validate", "--no-net", "--pedantic", str(METAINFO)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_both_speak_of_the_same_app() -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.read(ENTRY, encoding="utf-8")
    metadata = ElementTree.parse(METAINFO).getroot()
    assert metadata.findtext("id") == NAME
    assert metadata.findtext("launchable") == ENTRY.name
    assert metadata.findtext("provides/binary") == entry["Desktop Entry"]["Exec"]
    assert entry["Desktop Entry"]["Icon"] == NAME


def test_the_newest_release_is_the_projects_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    release = ElementTree.parse(METAINFO).getroot().find("releases/release")
    assert release is not None
    assert release.attrib["version"] == project["version"]
    assert entry_point(project) == "yarddesk"


def entry_point(project: dict[str, dict[str, str]]) -> str:
    (name,) = project["scripts"]
    return name
