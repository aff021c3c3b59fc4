"""The control API from the other side: what the commands use. Blocking."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from yarddesk.control.instance import Instance, NoInstance, find_instance
from yarddesk.errors import YarddeskError

_TIMEOUT_SECONDS: Final = 40.0  # longer than a wait's turn
_ENDED: Final = "yarddesk ended, or stopped answering, before this was done."
_UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


class ControlError(YarddeskError):
    """The instance refused, or could not be asked."""


class NoCertificate(ControlError):
    """The instance's own, which we would know it by."""


class ControlClient:
    """Speaks to the instance that runs on `data_dir`. Raises NoInstance or ControlError."""

    def __init__(self, data_dir: Path, certfile: str = "", *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._data_dir = data_dir
        self.instance: Instance = find_instance(data_dir)
        self._http = httpx.Client(
            base_url=_reachable(self.instance.url),
            headers={"Authorization": f"Bearer {self.instance.token.reveal()}"},
            timeout=timeout_seconds,
            trust_env=False,
            verify=_trust(certfile) if self.instance.url.startswith("https:") else False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, name: str, **parameters: str | int) -> dict[str, Any]:
        """GET `/api/v1/NAME`."""
        return self._ask("GET", name, params=parameters)

    def metrics(self) -> str:
        """GET `/metrics`."""
        return self._answer("GET", "/metrics").text

    def post(self, name: str, **body: object) -> dict[str, Any]:
        """POST `/api/v1/NAME` with what is not None of `body`."""
        return self._ask("POST", name, json={key: value for key, value in body.items() if value is not None})

    def work(self, name: str, **body: object) -> Iterator[dict[str, Any]]:
        """POST `/api/v1/NAME` for what takes a while: its lines as they come, the last with `result` or `error`.

        There is no limit for the whole: an instance that is there says something every few seconds.
        """
        try:
            with self._http.stream("POST", f"/api/v1/{name}", json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise ControlError(_refusal(answer))
                for line in answer.iter_lines():
                    yield json.loads(line)
        except httpx.ConnectError as error:
            raise NoInstance(self._data_dir) from error
        except httpx.HTTPError as error:
            raise ControlError(_ENDED, type(error).__name__) from error
        except ValueError as error:
            raise ControlError(f"{self.instance.url} answers, but not as yarddesk does.") from error

    def _ask(self, method: str, name: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's own arguments
        answer = self._answer(method, f"/api/v1/{name}", **request)
        try:
            document = answer.json()
        except ValueError as error:
            raise ControlError(f"{self.instance.url} answers, but not as yarddesk does.") from error
        if answer.status_code != httpx.codes.OK:
            raise ControlError(_refusal(answer))
        assert isinstance(document, dict)
        return document

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own arguments
        try:
            return self._http.request(method, path, **request)
        except httpx.ConnectError as error:
            raise NoInstance(self._data_dir) from error
        except httpx.TimeoutException as error:
            raise ControlError(
                "yarddesk runs but does not answer.", type(error).__name__, hint="`yarddesk doctor` looks at it."
            ) from error
        except httpx.HTTPError as error:
            raise ControlError(_ENDED, type(error).__name__) from error


def _refusal(answer: httpx.Response) -> str:
    """What an answer that is not 200 says."""
    try:
        said = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = ""
    return str(said or f"yarddesk answered {answer.status_code}.")


def _reachable(url: str) -> str:
    """The URL to dial: an instance on all interfaces is reached over loopback."""
    parts = urlsplit(url)
    host = _UNSPECIFIED.get(parts.hostname or "")
    return f"{parts.scheme}://{host}:{parts.port}" if host else url


def _trust(certfile: str) -> ssl.SSLContext:
    # The instance's own certificate is what we trust: nobody else has it, and it need not name this address.
    try:
        context = ssl.create_default_context(cafile=certfile or None)
    except OSError as error:
        raise NoCertificate(
            f"{certfile}, by which the running yarddesk is known, can't be read: {error.strerror or error}.",
            hint="Look at server.certfile.",
        ) from error
    context.check_hostname = False
    return context
