"""`make run` and `make test` on machines that lack something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SET_UP = ROOT / "packaging" / "setup"
sys.path.insert(0, str(SET_UP))

import debian  # noqa: E402
import environment  # noqa: E402
import needs  # noqa: E402
import set_up  # noqa: E402


def program(path: Path, text: str) -> Path:
    """A shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a yarddesk that says how it was called."""
    shutil.copytree(SET_UP, tmp_path / "packaging" / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    program(tmp_path / ".venv" / "bin" / "yarddesk", 'echo "yarddesk $*"')
    return tmp_path


@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_with_a_display_the_desktop_app_is_started(checkout: Path, display: str) -> None:
    command = [str(checkout / "packaging" / "setup" / "run"), "--port", "0"]
    done = subprocess.run(command, env={display: "x"}, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("yarddesk --port 0\n", "")


def test_without_a_display_serve_is_started_and_that_is_said_in_one_line(checkout: Path) -> None:
    command = [str(checkout / "packaging" / "setup" / "run"), "--port", "0"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "yarddesk serve --port 0\n"
    assert len(done.stderr.splitlines()) == 1
    assert "yarddesk serve" in done.stderr


def test_an_old_python_is_passed_over_for_one_that_will_do(tmp_path: Path) -> None:
    program(tmp_path / "python3", "exit 0")  # runs the question, and prints no path: older than 3.11
    program(tmp_path / "python3.12", "echo /the/right/one")
    found = subprocess.run([SET_UP / "find-python"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert found.stdout == "/the/right/one\n"


def test_without_a_python_that_will_do_it_is_named(tmp_path: Path) -> None:
    program(tmp_path / "python3", "exit 0")
    refused = subprocess.run([SET_UP / "find-python"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "Python 3.11" in refused.stderr


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.TEST_TOOLS, "no-such-tool", "its-package")
    assert set_up.missing_from_system("test") == {"no-such-tool": "its-package"}


def test_where_there_is_no_apt_get_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(debian.SetUpError) as refusal:
        debian.install(["skopeo", "xvfb"], ["skopeo", "Xvfb"])
    assert "missing: Xvfb, skopeo" in str(refusal.value)
    assert "apt-get install skopeo xvfb" in str(refusal.value)


def test_where_we_may_not_install_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "apt-get", "echo called >&2; exit 1")
    program(tmp_path / "sudo", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(debian.SetUpError) as refusal:
        debian.install(["skopeo"], ["skopeo"])
    assert "apt-get install skopeo" in str(refusal.value)
    assert "As root" in str(refusal.value)


def test_services_are_held_back_only_while_packages_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    with debian.services_held_back([]):
        assert subprocess.run([policy]).returncode == 101
    assert not policy.exists()


def test_the_administrators_own_policy_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = program(tmp_path / "policy-rc.d", "exit 0")
    before = policy.read_bytes()
    monkeypatch.setattr(debian, "POLICY", policy)
    with debian.services_held_back([]):
        assert policy.read_bytes() == before
    assert policy.read_bytes() == before


def test_the_environment_is_made_anew_when_the_lock_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\n[tool.ruff]\nline-length = 80\n')
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "LOCK", lock)
    before = environment.fingerprint()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\n[tool.ruff]\nline-length = 100\n')
    assert environment.fingerprint() == before
    lock.write_text("a==2\n")
    assert environment.fingerprint() != before


def test_what_is_set_up_for_tests_will_do_for_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(tmp_path / "bin" / "python", "exit 0")
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "PYTHON", python)
    assert not environment.is_ready("run")
    (tmp_path / "set-up").mkdir()
    environment.stamp_file("test").write_text(environment.fingerprint())
    assert environment.is_ready("run")
    python.unlink()
    assert not environment.is_ready("run")


def test_every_locked_version_is_exact_and_names_no_place() -> None:
    lines = [line for line in environment.LOCK.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line and "+" not in line for line in lines)
