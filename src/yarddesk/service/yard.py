"""A running yard: the registry, the sync worker, the cache and the control API over one store."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from yarddesk import __version__
from yarddesk.cache.eviction import Evictor, Known
from yarddesk.content.clock import SystemClock
from yarddesk.content.credentials import Credential, Secret
from yarddesk.content.pull_through import PullHealth
from yarddesk.content.threads import in_thread
from yarddesk.control.app import control_app
from yarddesk.control.instance import new_token
from yarddesk.control.surface import WaitOutcome
from yarddesk.control.works import Work
from yarddesk.engines import EngineEnvironment, detect
from yarddesk.engines.model import ContainerEngine, RegistryAddress
from yarddesk.errors import YarddeskError
from yarddesk.events import EventBus, SettingsChanged
from yarddesk.oci.name import ImageReference, Reference, RepositoryName
from yarddesk.progress.traffic import Traffic
from yarddesk.registry.access import Access, WithBodies
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard, HostRules
from yarddesk.registry.server import EmbeddedServer
from yarddesk.service.accounts import upstreams_at
from yarddesk.service.addresses import ENGINE_STATE, engine_address, exposure
from yarddesk.service.announcing import announced
from yarddesk.service.backend import refuse_s3
from yarddesk.service.certificate import refuse_certificate
from yarddesk.service.disk import DiskWatch
from yarddesk.service.docker_logins import DockerLogins
from yarddesk.service.front import Problem, Remedy, SignInResult
from yarddesk.service.logs import configure_logging
from yarddesk.service.markers import marker_problem
from yarddesk.service.parts import Parts
from yarddesk.service.pushes import AnnouncedPushes
from yarddesk.service.reload import SettingsSource
from yarddesk.service.request_log import request_log
from yarddesk.service.routes import YardRoutes, make_routes
from yarddesk.service.surroundings import Surroundings
from yarddesk.service.upkeep import Upkeep
from yarddesk.service.whereabouts import Whereabouts
from yarddesk.settings.edit import add_upstream, remove_upstream
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import ServerSettings, Settings, UpstreamSettings
from yarddesk.settings.upstreams import upstream_from_url
from yarddesk.settings.watch import file_changes
from yarddesk.storage.lock import InstanceLock
from yarddesk.sync.errors import NothingToTry
from yarddesk.sync.service import SyncService
from yarddesk.upstream.transports import load_connections

_log = logging.getLogger(__name__)

_COUNTED_SECONDS: Final = 2.0
"""Who asks for usage just after the start waits so long for it to be counted."""


class Yard:
    """One running instance, for its front-end (desktop.core.Core) and for the control API (control.surface.ControlSurface)."""

    def __init__(self, settings: Settings, source: SettingsSource, parts: Parts) -> None:
        self._settings = settings
        self._source = source
        self._parts = parts
        self._routes = parts.routes
        self._token = new_token()
        server = settings.server
        self.event_log = parts.event_log
        self.counters = parts.counters
        pushes = AnnouncedPushes(parts.sync, parts.events, parts.keeping.ledger, parts.store.images)
        self._registry = RegistryApp(
            parts.store, parts.pulls, pushes, names=parts.routes, rest=control_app(self, self._token)
        )
        parts.sync.move_tags_by(self._registry.intake.alone)
        self.evictor = self._new_evictor()
        self._guard = Guard(self._registry, HostRules(server.host, server.allowed_hosts))
        self._access = Access(parts.traffic)
        self._access.log = request_log(server.log)
        self._server = EmbeddedServer(
            WithBodies(self._guard, self._access),
            host=server.host,
            port=server.port,
            certfile=server.certfile if server.tls else "",
            keyfile=server.keyfile if server.tls else "",
            observer=self._access,
        )
        self._engine_state = settings.data_dir / ENGINE_STATE
        self._upkeep = Upkeep(
            Surroundings(
                parts.store,
                parts.events,
                lambda: self._routes,
                lambda: self._settings,
                parts.sync,
                Whereabouts(
                    lambda: self._routes,
                    parts.sync.is_queued,
                    parts.sync.latest,
                    parts.pulls.followed,
                    parts.keeping.ledger.get,
                ),
                self._registry.deletes,
                lambda: nullcontext(self._registry.intake),
                lambda: nullcontext(parts.pulls.prefetcher),
                parts.keeping,
            )
        )
        self._docker_logins = DockerLogins(
            parts.accounts.docker_config, self._without_credentials, lambda name: self.account_changed(name, retry=True)
        )
        self._settings_problem: Problem | None = None
        self._disk = DiskWatch(self.data_dir, lambda: self._settings.cache.min_free, self.events)
        self._reloading = asyncio.Lock()
        self.show_window: Callable[[], None] | None = None

    # What the front-end and the control API read.

    @property
    def url(self) -> str:
        return self._server.address

    @property
    def address(self) -> str:
        return str(self.engine_address)

    @property
    def version(self) -> str:
        return __version__

    @property
    def data_dir(self) -> Path:
        return self._settings.data_dir

    @property
    def settings_file(self) -> Path:
        return self._source.file

    @property
    def events(self) -> EventBus:
        return self._parts.events

    @property
    def sync(self) -> SyncService:
        return self._parts.sync

    @property
    def traffic(self) -> Traffic:
        return self._parts.traffic

    @property
    def max_bytes(self) -> int:
        return self._settings.cache.max_size

    async def counted(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_COUNTED_SECONDS):
                await self._parts.store.stock_taken()
                if self._parts.store.contents.complete:
                    await self.evictor.counted.wait()

    def used_bytes(self) -> int:
        return self.evictor.used

    def stored_bytes(self) -> int:
        return self._parts.stored.count

    def upstreams(self) -> Sequence[UpstreamSettings]:
        return self._settings.upstreams

    def pull_health(self, upstream: str) -> PullHealth:
        return self._parts.pulls.health(upstream)

    @cached_property
    def engines(self) -> Sequence[ContainerEngine]:
        return detect(EngineEnvironment.current(), self._engine_state)

    @property
    def engine_address(self) -> RegistryAddress:
        return engine_address(self._settings.server, self._server.port)

    def problems(self) -> Sequence[Problem]:
        markers = marker_problem(self.sync.snapshot(), self._settings.data_dir)
        return [problem for problem in (self._disk.problem, self._settings_problem, markers) if problem]

    async def pins(self) -> Sequence[Mapping[str, object]]:
        return await self._upkeep.pinning.listed()

    @property
    def works(self) -> Mapping[str, Work]:
        return self._upkeep.works

    def raise_window(self) -> bool:
        if self.show_window is None:
            return False
        self.show_window()
        return True

    async def wait(self, target: str | None, seconds: float) -> WaitOutcome:
        try:
            async with asyncio.timeout(seconds):
                outcome = await self.sync.wait_synced(target)
        except TimeoutError:
            return WaitOutcome("pending")
        return WaitOutcome("done" if outcome.synced else "failed", outcome.reason)

    def _new_evictor(self) -> Evictor:
        parts, keeping = self._parts, self._parts.keeping
        evictor = Evictor(
            parts.store,
            Known(
                keeping.ledger,
                keeping.pins,
                keeping.uses,
                parts.sync.queued,
                parts.sync.queued_in,
                parts.pulls.followed,
            ),
            routes=self._routes,
            settings=self._settings.cache,
            closed=self._registry.deletes.closed,
            events=parts.events,
            clock=SystemClock(),
            used_changed=lambda: parts.stored.changed(parts.stored.count),
        )
        keeping.room.lacking = evictor.make_room
        return evictor

    def is_changing(self, repository: RepositoryName, reference: Reference) -> bool:
        """Whether it's being pushed, or deleted, just now."""
        return self._registry.intake.is_changing(repository, reference)

    def is_pinned(self, image: ImageReference) -> bool:
        pins = self._parts.keeping.pins.of(self._routes.canonical(image.repository))
        return image.reference in pins or None in pins

    # What the front-end changes.

    async def pin(self, image: ImageReference, *, stays: bool) -> None:
        await self._upkeep.pinning.change(image, stays=stays)

    async def add_upstream(
        self, url: str, *, prefix: str = "", push: bool = True, pull: bool = True
    ) -> UpstreamSettings:
        try:
            upstream = upstream_from_url(url.strip(), prefix=prefix, push=push, pull=pull)
        except ValueError as error:
            raise SettingsError("", "", str(error)) from error
        added = await asyncio.to_thread(add_upstream, self.settings_file, upstream, self._source.environ)
        await self.reload()
        return added

    async def remove_upstream(self, name: str) -> None:
        await asyncio.to_thread(remove_upstream, self.settings_file, name, self._source.environ)
        await self.reload()

    async def sign_in(self, upstream: str, username: str, password: Secret) -> SignInResult:
        chosen = self._upstream(upstream)
        result = await self._parts.accounts.sign_in(chosen, Credential(username, password))
        await self.account_changed(chosen.registry, retry=True)
        return result

    async def sign_out(self, upstream: str) -> bool:
        chosen = self._upstream(upstream)
        had = await self._parts.accounts.sign_out(chosen)
        await self.account_changed(chosen.registry, retry=False)
        return had

    async def account_changed(self, registry: str, *, retry: bool) -> int:
        """The keychain has other credentials for a registry; `retry`: what waits for any of its upstreams goes on."""
        self._routes.account_changed(registry)
        self._parts.pulls.look_again()
        count = 0
        for upstream in upstreams_at(self._settings.upstreams, registry) if retry else ():
            with suppress(NothingToTry):  # it isn't the account that holds those up
                count += await self.sync.retry(upstream.name)
        return count

    def _without_credentials(self) -> set[str]:
        """The registries that images wait for because their credentials were not taken."""
        snapshot = self.sync.snapshot()
        parts = {part.registry for job in snapshot.jobs for part in job.parts if part.needs_credentials}
        return parts | {upstream.registry for upstream in snapshot.upstreams if upstream.needs_credentials}

    # Other settings.

    async def reload(self) -> bool:
        """Read the settings again and put in force what can be; whether they are others.

        Raises SettingsError, and the old ones stay in force.
        """
        async with self._reloading:
            try:
                settings = await self._source.load()
                refuse_s3(settings)
                await asyncio.to_thread(refuse_certificate, settings, self._settings.server)
                routes = self._other_routes(settings)
                await self._log_as(settings, routes)
            except SettingsError as error:
                self._settings_problem = Problem(
                    "The settings file can't be used; the old settings stay in force.",
                    hint=str(error),
                    details=str(self.settings_file),
                    remedy=Remedy.OPEN_SETTINGS_FILE,
                )
                self.events.publish(SettingsChanged())
                raise
            before, self._settings_problem = self._settings_problem, None
            changed = await self._apply(settings, routes)
            if changed or before is not None:
                self.events.publish(SettingsChanged())
            return changed

    def _other_routes(self, settings: Settings) -> YardRoutes | None:
        """Those of other upstreams than there are now. Raises SettingsError for an address that can't be one."""
        same = (settings.upstreams, settings.check_timeout) == (self._settings.upstreams, self._settings.check_timeout)
        return None if same else make_routes(settings, self._parts.accounts, self._parts.learned)

    async def _log_as(self, settings: Settings, routes: YardRoutes | None) -> None:
        """Last of all that may refuse other settings, since it's in force at once. Raises SettingsError, with `routes` closed."""
        if settings.logger == self._settings.logger:
            return
        try:
            await asyncio.to_thread(configure_logging, settings)
        except BaseException:
            if routes is not None:
                await routes.aclose()
            raise

    async def _apply(self, settings: Settings, routes: YardRoutes | None) -> bool:
        old, wanted = self._settings, settings
        settings = replace(wanted, data_dir=old.data_dir, server=_with_socket_of(old.server, wanted.server))
        if settings != wanted:
            _log.warning("the server's host, port and TLS, and data_dir, take effect at the next start")
        self._settings = settings
        self._access.log = request_log(settings.server.log)
        self._parts.hooks.follow(settings.sync.on_synced)
        self._guard.rules = HostRules(settings.server.host, settings.server.allowed_hosts)
        if routes is not None:
            left, self._routes = self._routes, routes
            self._routes.follow(left)
            try:
                await self._take_up(settings)
            finally:
                await left.aclose()
        elif settings != old:
            await self._take_up(settings)
        return settings != old

    async def _take_up(self, settings: Settings) -> None:
        self._parts.pulls.reload(self._routes, settings)
        self.evictor.reload(self._routes, settings.cache)
        self._registry.rename(self._routes)
        await self._parts.sync.reload(self._routes, settings)  # the last: it alone can fail, for want of room

    async def _watch_settings(self, stop: asyncio.Event) -> None:
        """Put each change of the settings file in force until `stop` is set."""
        async for _ in file_changes(self.settings_file, stop):
            try:
                if await self.reload():
                    _log.info("other settings are in force")
            except (YarddeskError, OSError) as error:
                _log.error("the settings stay as they were: %s", error)
            except Exception:  # noqa: BLE001 - logged with its traceback; pushes and pulls must not end over it
                _log.exception("the settings could not be put in force")

    def _upstream(self, name: str) -> UpstreamSettings:
        for upstream in self._settings.upstreams:
            if upstream.name == name:
                return upstream
        raise SettingsError(str(self.settings_file), "upstreams", f"there is no upstream “{name}”")

    async def close_routes(self) -> None:
        """Let go of the upstreams' connections."""
        await self._routes.aclose()

    @asynccontextmanager
    async def serving(self, lock: InstanceLock) -> AsyncIterator[None]:
        """Requests are answered inside, the commands find this instance, and standard error has said so."""
        async with self._server:
            if warning := exposure(self._settings.server):
                _log.warning("%s", warning)
            async with announced(self.data_dir, self.url, self._token, lock):
                print(f"listening on {self.url}", file=sys.stderr, flush=True)  # noqa: T201 - programs wait for this line
                try:
                    yield
                finally:
                    self.event_log.close()  # who waits for news would hold up the server's end

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The settings file and the disk are looked after inside."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_settings(stop), name="settings watch")
            group.create_task(self._disk.watch(stop), name="disk watch")
            group.create_task(self._docker_logins.watch(stop), name="docker login watch")
            if self._settings.upstreams:
                group.create_task(in_thread(load_connections), name="load what makes connections")
            try:
                yield
            finally:
                stop.set()


def _with_socket_of(old: ServerSettings, new: ServerSettings) -> ServerSettings:
    return replace(new, host=old.host, port=old.port, tls=old.tls, certfile=old.certfile, keyfile=old.keyfile)
