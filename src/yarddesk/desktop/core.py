"""What the window needs of a running yard, and nothing more: any front-end could be built against this page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from yarddesk.content.credentials import Secret
from yarddesk.content.pull_through import PullHealth
from yarddesk.engines.model import ContainerEngine, RegistryAddress
from yarddesk.events import EventBus
from yarddesk.oci.name import ImageReference
from yarddesk.progress.traffic import Traffic
from yarddesk.service.front import Problem, Remedy, SignInResult
from yarddesk.settings.model import UpstreamSettings
from yarddesk.sync.snapshot import SyncController

__all__ = ["Core", "Problem", "Remedy", "SignInResult"]


class Core(Protocol):
    """A running registry with its sync worker, as the window sees it. All of it belongs to the loop's thread.

    What is no coroutine answers from memory at once. Coroutines are durable when they return and raise YarddeskError.
    """

    show_window: Callable[[], None] | None
    """Set by the window while it is there: brings it to the front when another start asks for that."""

    @property
    def address(self) -> str:
        """`HOST:PORT` as people type it before a repository's name."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def data_dir(self) -> Path: ...

    @property
    def settings_file(self) -> Path:
        """Where the YAML settings are, or would be."""
        ...

    @property
    def events(self) -> EventBus: ...

    @property
    def sync(self) -> SyncController: ...

    @property
    def max_bytes(self) -> int:
        """The bound on the cache's size; 0 is none."""
        ...

    def used_bytes(self) -> int:
        """What can be had again, in bytes, as last counted; StorageChanged tells of another figure."""
        ...

    def stored_bytes(self) -> int:
        """All that is stored; as `used_bytes`."""
        ...

    def is_pinned(self, image: ImageReference) -> bool:
        """Whether a person wants it to stay here, by its tag or digest or with its whole repository."""
        ...

    def upstreams(self) -> Sequence[UpstreamSettings]:
        """In the order written; SettingsChanged tells of others."""
        ...

    def pull_health(self, upstream: str) -> PullHealth:
        """How pulls from an upstream go; PullHealthChanged tells of another state."""
        ...

    @property
    def traffic(self) -> Traffic:
        """What passed since the start; nobody tells of a change."""
        ...

    @property
    def engines(self) -> Sequence[ContainerEngine]:
        """Every container engine that yarddesk knows how to set up, here or not."""
        ...

    @property
    def engine_address(self) -> RegistryAddress:
        """What engines are set up for."""
        ...

    def problems(self) -> Sequence[Problem]:
        """What stops everything right now, worst first; usually nothing."""
        ...

    async def pin(self, image: ImageReference, *, stays: bool) -> None:
        """Have an image stay here whatever room is needed, or not any more. Raises NotFound where it isn't here."""
        ...

    async def add_upstream(
        self, url: str, *, prefix: str = "", push: bool = True, pull: bool = True
    ) -> UpstreamSettings:
        """Write it into the settings file and use it at once. Raises SettingsError where it can't be."""
        ...

    async def remove_upstream(self, name: str) -> None:
        """Take it out of the settings file. Raises SettingsError."""
        ...

    async def sign_in(self, upstream: str, username: str, password: Secret) -> SignInResult:
        """Ask the upstream's registry whether it takes them, and keep them in the OS keychain.

        A registry that is out of reach is no reason not to keep them. What waits for a sign-in there goes on.
        Raises UpstreamDenied (nothing is kept) and CredentialUnavailable (they could not be kept).
        """
        ...

    async def sign_out(self, upstream: str) -> bool:
        """Whether there was a credential to take out. Raises CredentialUnavailable."""
        ...
