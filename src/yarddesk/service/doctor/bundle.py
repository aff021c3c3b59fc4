"""What `doctor --bundle` writes down: all that helps somebody else to find a fault, and no secret.

Each part is made without secrets. What is known to be one, in the forms that it's written in, and what looks like one is then
masked in all of them once more.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from yarddesk import __version__
from yarddesk.control.app import revision
from yarddesk.errors import YarddeskError
from yarddesk.service.doctor.archive import write_archive
from yarddesk.service.doctor.examination import Examination
from yarddesk.service.logs import log_file
from yarddesk.settings.loader import LoadedSettings
from yarddesk.settings.masking import masked_environment, masked_file, secrets_in, without_user_info
from yarddesk.storage.durable import read_whole
from yarddesk.storage.layout import PENDING
from yarddesk.sync.history import HISTORY_FILE
from yarddesk.sync.marker import MAX_MARKER_BYTES
from yarddesk.upstream.secret_forms import forms_of, in_base64
from yarddesk.upstream.words import masked

_FOLDER: Final = "yarddesk-doctor"
_MOST_LOG_BYTES: Final = 512 * 1024
_MOST_HISTORY_BYTES: Final = 512 * 1024
_MOST_MARKERS: Final = 500
_THAT_MATTER: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "DOCKER_CONFIG", "DOCKER_HOST", "PYTHON_KEYRING_BACKEND", "XDG_CURRENT_DESKTOP"),
)
"""Variables of others that yarddesk goes by."""


def write_bundle(path: Path, loaded: LoadedSettings, examination: Examination, in_words: str) -> None:
    """Write it whole, 0600, to a name that is free. Blocking. Raises YarddeskError. `in_words`: the findings for people."""
    secrets = _forms(loaded, examination)
    members = {name: _clean(part, secrets) for name, part in _parts(loaded, examination, in_words)}
    write_archive(path, _FOLDER, members)


def _parts(
    loaded: LoadedSettings, examination: Examination, in_words: str
) -> Iterator[tuple[str, str | Mapping[str, Any]]]:
    """Texts, and documents for JSON."""
    documents = [finding.document() for finding in examination.findings]
    yield "findings.txt", f"{in_words}\n"
    yield "findings.json", {"findings": documents}
    yield "version.json", _versions()
    if loaded.settings.source is not None:
        yield "settings.yaml", _read(lambda: masked_file(loaded.file))
    yield "environment.json", _environment(loaded)
    running = examination.running
    if running is not None and running.answers:
        yield "status.json", running.status
        yield "queue.json", running.queue
        yield "history.json", running.history
        yield "metrics.txt", running.metrics
    else:
        data_dir = loaded.settings.data_dir
        yield "pending.json", _markers(data_dir / PENDING)
        if os.path.isfile(data_dir / HISTORY_FILE):
            yield "history.jsonl", _read(lambda: _tail(data_dir / HISTORY_FILE, _MOST_HISTORY_BYTES))
    log = log_file(loaded.settings)
    if log is not None:
        yield "log.txt", _read(lambda: _tail(log, _MOST_LOG_BYTES))


def _versions() -> dict[str, Any]:
    packages = {each.metadata["Name"]: each.version for each in metadata.distributions() if each.metadata["Name"]}
    return {
        "yarddesk": __version__,
        "revision": revision(),
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda package: package[0].lower())),
    }


def _environment(loaded: LoadedSettings) -> dict[str, Any]:
    return {
        "heeded": masked_environment(os.environ, loaded.environment),
        "others": {name: without_user_info(os.environ[name]) for name in _THAT_MATTER if name in os.environ},
        "warnings": list(loaded.warnings),
    }


def _markers(folder: Path) -> dict[str, Any]:
    """The queue's files by their place, as they lie there."""
    found: dict[str, Any] = {}
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            if len(found) >= _MOST_MARKERS:
                return found
            path = Path(parent, name)
            found[str(path.relative_to(folder))] = _marker(path)
    return found


def _marker(path: Path) -> Any:  # noqa: ANN401 - JSON is any of its types
    text = _read(lambda: read_whole(str(path), MAX_MARKER_BYTES).decode(errors="replace"))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _tail(path: Path, most_bytes: int) -> str:
    """The last lines of a file. Raises OSError, also for what is no file, as a pipe that would be waited for."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file that keeps what is written to it.")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most_bytes))
        if size > most_bytes:
            file.readline()  # half of one
        return file.read(most_bytes).decode(errors="replace")


def _read(read: Callable[[], str]) -> str:
    """What can't be read is no reason to go without the rest."""
    try:
        return read()
    except (OSError, YarddeskError) as error:
        return f"This can't be read: {error}\n"


def _forms(loaded: LoadedSettings, examination: Examination) -> list[str]:
    """What must not be read anywhere."""
    secrets = [secret.reveal() for secret in secrets_in(loaded.settings)]
    running = examination.running
    if running is not None:
        secrets.append(running.instance.token.reveal())
    pairs = [(each.username, each.password.reveal()) for each in examination.credentials]
    pairs += [(each.auth.username, each.auth.password.reveal()) for each in loaded.settings.upstreams]
    secrets += [password for _, password in pairs if password]
    secrets += [in_base64(f"{username}:{password}") for username, password in pairs if password]
    return forms_of(secrets)


def _clean(part: str | Mapping[str, Any], secrets: list[str]) -> bytes:
    text = masked(part, secrets) if isinstance(part, str) else _dumped(_masked(part, secrets))
    return text.encode("utf-8", "backslashreplace")


def _dumped(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _masked(node: Any, secrets: list[str]) -> Any:  # noqa: ANN401 - JSON is any of its types
    """Text by text: a password may be a number, or `true`, and what is left should still be JSON."""
    if isinstance(node, str):
        return masked(node, secrets)
    if isinstance(node, Mapping):
        return {masked(str(name), secrets): _masked(value, secrets) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_masked(entry, secrets) for entry in node]
    return node
