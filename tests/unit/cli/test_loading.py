"""What a command loads before it does anything: people and deploys wait for that each time."""

import subprocess
import sys

import pytest

# A whole yard, the server that it runs, what it keeps secrets in, the clients of other registries, the window's toolkit.
HEAVY = [
    *(
        "yarddesk.service.yard",
        "yarddesk.service.opening",
        "yarddesk.service.alone",
        "yarddesk.upstream",
        "yarddesk.storage.filesystem",
    ),
    *("yarddesk.sync.service", "uvicorn", "keyring", "watchfiles", "PySide6"),
]


@pytest.mark.parametrize("command", [["--help"], ["wait"], ["status"], ["logout", "--help"]])
def test_a_command_loads_nothing_that_only_a_yard_needs(tmp_path, command):
    program = (
        "import sys\n"
        "from yarddesk.cli.main import run\n"
        "try:\n"
        f"    run({[*command, '--data-dir', str(tmp_path / 'nowhere'), '--config', str(tmp_path / 'none.yaml')]!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    (tmp_path / "none.yaml").touch()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "loaded []"
