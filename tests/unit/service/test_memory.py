import subprocess
import sys

from tests.peers.yarddesk import YarddeskProcess
from tests.support.programs import clean_environment

_FREED = """
import sys
from pathlib import Path
from yarddesk.service.memory import spare_memory

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "spared":
    assert spare_memory()
large = bytes(b"x") * 300_000
del large  # from now on glibc by itself takes pieces of this size from its heap
pieces = [bytes(b"x") * 300_000 for _ in range(200)]
before = resident_bytes()
last = pieces[-1]
del pieces
print(before - resident_bytes())
"""


def test_what_pieces_of_bodies_took_goes_back_to_the_system_around_one_that_stays(tmp_path):
    freed = {how: int(_python(tmp_path, _FREED, how)) for how in ("spared", "plain")}
    assert freed["spared"] > 50_000_000
    assert freed["plain"] < 10_000_000


def test_what_is_alive_after_the_start_is_not_walked_through_again(tmp_path):
    script = (
        "import gc\n"
        "from yarddesk.service.memory import settle_memory\n"
        "before = len(gc.get_objects())\n"
        "settle_memory()\n"
        "print(gc.get_freeze_count() > 5000, len(gc.get_objects()) < before / 10)\n"
    )
    assert _python(tmp_path, script) == "True True"


def test_no_command_loads_what_draws_tables(tmp_path):
    script = (
        "import sys\n"
        "from yarddesk.__main__ import main\n"
        "sys.argv[1:] = ['--version']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print([name for name in ('rich', 'pygments', 'httpx._client') if name in sys.modules])\n"
    )
    assert _python(tmp_path, script).splitlines()[-1] == "['httpx._client']"


def test_a_yard_loads_what_speaks_to_keychains_and_engines_where_one_is_asked(tmp_path):
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from yarddesk.service.leaving import last_yard\n"
        "from yarddesk.service.reload import SettingsSource\n"
        "from yarddesk.settings.loader import load_settings\n"
        "def loaded():\n"
        "    names = ('keyring', 'importlib_metadata', 'yarddesk.engines.docker', 'yarddesk.engines.podman')\n"
        "    return [name for name in names if name in sys.modules]\n"
        "async def run():\n"
        "    file, options = Path(sys.argv[1]) / 'none.yaml', {'data_dir': sys.argv[1] + '/data', 'server.port': '0'}\n"
        "    settings = load_settings({'YARDDESK_UPSTREAM': ''}, file=file, options=options).settings\n"
        "    async with last_yard(settings, SettingsSource(file, options, {'YARDDESK_UPSTREAM': ''})) as yard:\n"
        "        print(loaded(), len(yard.engines), loaded())\n"
        "asyncio.run(run())\n"
    )
    expected = "[] 2 ['yarddesk.engines.docker', 'yarddesk.engines.podman']"
    (tmp_path / "none.yaml").touch()
    assert _python(tmp_path, script, str(tmp_path)) == expected


def test_what_makes_connections_is_loaded_before_it_is_needed_where_there_are_upstreams(tmp_path):
    """The first pull after a start would have to wait for it."""
    told = {"PYTHONPROFILEIMPORTTIME": "1"}
    some = YarddeskProcess(tmp_path / "some", environment=told)
    none = YarddeskProcess(tmp_path / "none", environment={**told, "YARDDESK_UPSTREAM": ""})
    try:
        some.start()
        some.wait_for_line(r"\| *httpcore$")
        none.start()
        none.terminate()
        assert "httpcore" not in none.output()
    finally:
        some.kill()
        none.kill()


def _python(tmp_path, script: str, *arguments: str) -> str:
    environment = clean_environment(tmp_path / "home")
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.strip()
