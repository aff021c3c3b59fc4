"""The HTTP server inside another program: uvicorn without its signal handlers, log configuration and polling."""

import asyncio
import logging
import ssl
from types import TracebackType
from typing import Final, Self

import uvicorn
from uvicorn.server import ServerState

from yarddesk.content.threads import in_thread
from yarddesk.errors import YarddeskError
from yarddesk.registry.buffers import Buffers
from yarddesk.registry.guard import GuardedApp
from yarddesk.registry.limits import Limits
from yarddesk.registry.observer import Observer
from yarddesk.registry.protocol import RegistryProtocol
from yarddesk.registry.sockets import bind

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_ACCEPTED_AT_ONCE: Final = 1
"""asyncio says so many times in a row that it has no descriptor left, and as often begins to wait a second."""
_HANDSHAKE_SECONDS: Final = 10.0
_CUT_SECONDS: Final = 0.5


class TlsUnusable(YarddeskError):
    """The certificate or its key can't be used."""


def check_certificate(certfile: str, keyfile: str) -> None:
    """Raises TlsUnusable where a server could not start with these. Blocking."""
    try:
        # Where the key has a password nobody is to be asked for it at the terminal: the server has nobody to ask.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile or None, password=str)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(certfile, error) from error


def _unusable(certfile: str, error: Exception) -> TlsUnusable:
    return TlsUnusable(
        f"{certfile} and its key can't be used for TLS.",
        str(error),
        hint="Look at server.certfile and server.keyfile: PEM files, the key without a password.",
    )


class EmbeddedServer:
    """Serves `app` on the running loop, whichever that is, from `start` to `stop`; also an asynchronous context manager.

    `host` and `port` as in the settings (`localhost`: both loopback addresses; empty: all interfaces; 0: any free port).
    `observer` hears of every request when it's over. With `certfile` (and `keyfile`, where that is a file of its own) it speaks TLS alone.
    """

    def __init__(
        self,
        app: GuardedApp,
        *,
        host: str = "localhost",
        port: int = 5050,
        certfile: str = "",
        keyfile: str = "",
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._app = app
        self._observer = observer
        self._host = host
        self._port = port
        self._certfile = certfile
        self._keyfile = keyfile
        self._limits = limits or Limits()
        self._state = ServerState()
        self._buffers = Buffers()
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, or will be."""
        return self._port

    @property
    def address(self) -> str:
        """`http://HOST:PORT`, the host as configured."""
        return self._url(self._host or "0.0.0.0")

    @property
    def local_address(self) -> str:
        """As `address`, by a name under which this machine reaches it."""
        return self._url("localhost" if self._host in ("", "0.0.0.0", "::") else self._host)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    async def start(self) -> None:
        """Return when requests are answered. Raises PortTaken, CannotBind or TlsUnusable."""
        config = await in_thread(self._configuration)
        sockets = await asyncio.to_thread(bind, self._host, self._port)
        self._port = sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        limits = self._limits.for_this_process()

        def connect() -> RegistryProtocol:
            if self._watch is None:
                self._watch = loop.call_later(limits.watch_seconds, self._look_at_connections, limits.watch_seconds)
            at_once = self._app.answer_at_once
            return RegistryProtocol(
                config,
                self._state,
                {},
                loop,
                limits=limits,
                at_once=at_once,
                buffers=self._buffers,
                observer=self._observer,
            )

        handshake = _HANDSHAKE_SECONDS if config.ssl else None
        for bound in sockets:
            self._servers.append(
                await loop.create_server(
                    connect, sock=bound, ssl=config.ssl, backlog=_ACCEPTED_AT_ONCE, ssl_handshake_timeout=handshake
                )
            )
            bound.listen(_BACKLOG)

    async def stop(self, grace_seconds: float = 1.5) -> None:
        """Accept no more, let what is being answered end within `grace_seconds`, and cut the rest. May be called twice."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._wait(grace_seconds)
        for task in list(self._state.tasks):
            task.cancel()
        await self._wait(_CUT_SECONDS)
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        await asyncio.sleep(0)  # the aborted connections end at the loop's next turn

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _wait(self, seconds: float) -> None:
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=seconds)

    def _look_at_connections(self, every_seconds: float) -> None:
        """Rests while there is no connection."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._state.connections):
            if isinstance(connection, RegistryProtocol):
                connection.check_progress(now)
        self._watch = None
        if self._state.connections:
            self._watch = loop.call_later(every_seconds, self._look_at_connections, every_seconds)
        else:
            self._buffers.forget()

    def _configuration(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self._app,
            http=RegistryProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ssl_certfile=self._certfile or None,
            ssl_keyfile=self._keyfile or None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise _unusable(self._certfile, error) from error
        return config

    def _url(self, host: str) -> str:
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self._certfile else 'http'}://{name}:{self._port}"
