"""The core alone: installed as `pip install yarddesk` does, where neither PySide6 nor qasync is to be found."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.programs import Program, clean_environment

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def core_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the core's dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, with_pip=True)
    python: Path = folder / "bin" / "python"
    constraints = CHECKOUT / "requirements.lock"
    options = ["--quiet", "--disable-pip-version-check", "--constraint", str(constraints)]
    subprocess.run(
        [python, "-m", "pip", "install", *options, str(CHECKOUT)], check=True, capture_output=True, timeout=300
    )
    return python


def test_serve_runs_where_pyside6_and_qasync_are_not_installed(core_python, tmp_path):
    for name in ("PySide6", "qasync", "shiboken6"):
        assert subprocess.run([core_python, "-c", f"import {name}"], capture_output=True, check=False).returncode == 1
    environment = clean_environment(tmp_path / "home")
    command = [str(core_python), "-m", "yarddesk", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    program = Program(command, environment=environment, log=tmp_path / "log")
    program.start()
    try:
        program.wait_for_line(r"^listening on http://localhost:\d+\s*$")
    finally:
        assert program.stop() == 0


def test_the_desktop_app_names_serve_where_qt_is_missing(core_python, tmp_path):
    environment = clean_environment(tmp_path / "home")
    command = [str(core_python), "-m", "yarddesk", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "yarddesk serve" in ended.stderr


def test_the_desktop_app_names_serve_where_there_is_no_display(tmp_path):
    environment = clean_environment(tmp_path / "home")
    environment.pop("QT_QPA_PLATFORM", None)
    for display in ("", ":7654"):
        given = environment | ({"DISPLAY": display} if display else {})
        command = [sys.executable, "-m", "yarddesk", "--data-dir", str(tmp_path / "data")]
        ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 1, ended.stderr
        assert "yarddesk serve" in ended.stderr


def test_serve_imports_nothing_of_qt_even_where_it_is_installed(tmp_path):
    script = (
        "import sys, threading, os, signal\n"
        "from yarddesk.cli.main import run\n"
        "threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        f"status = run(['serve', '--port', '0', '--data-dir', {str(tmp_path / 'data')!r}])\n"
        "loaded = [name for name in sys.modules if name.startswith(('PySide6', 'shiboken6', 'qasync', 'yarddesk.desktop'))]\n"
        "print(status, loaded)\n"
    )
    environment = clean_environment(tmp_path / "home") | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.strip() == "0 []", ended.stderr
