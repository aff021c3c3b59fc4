"""Blobs on their way to upstreams. Two jobs that need the same blob there share one transfer of it.

A transfer lives as long as some job holds it: it ends when the last one lets go, so a pause or a cancel stops it at once, while
a newer push of the same tag, or the index that takes over a platform's job, inherits what is halfway through.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.schedule import PartKey


class TransferKey(NamedTuple):
    """A blob on its way to one repository of one upstream."""

    upstream: str
    repository: RepositoryName
    digest: Digest


@dataclass(slots=True, eq=False)
class Transfer:
    """One transfer as those who wait for it see it: `done` bytes are out. Each holder has a meter of its own."""

    key: TransferKey
    done: int = 0
    holders: set[PartKey] = field(default_factory=set)
    meters: dict[PartKey, ProgressMeter] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    failure: Exception | None = None
    ending: bool = False

    def opened(self, offset: int) -> None:
        """Its bytes are read from `offset` on: what was counted beyond that has to go out again."""
        for meter in self.meters.values():
            meter.rewind(self.key.digest, offset, LayerState.SENDING)
        self.done = offset

    def sent(self, count: int) -> None:
        self.done += count
        for meter in self.meters.values():
            meter.add(self.key.digest, count)


class Transfers:
    """All transfers under way. Tasks belong to whoever hands in `spawn`."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._spawn = spawn
        self._transfers: dict[TransferKey, Transfer] = {}

    def find(self, key: TransferKey) -> Transfer | None:
        return self._transfers.get(key)

    def elsewhere(self, upstream: str, digest: Digest, repository: RepositoryName) -> Transfer | None:
        """The same blob on its way to another repository of the same upstream."""
        for key, transfer in self._transfers.items():
            if key.digest == digest and key.upstream == upstream and key.repository != repository:
                return transfer
        return None

    async def deliver(
        self, key: TransferKey, holder: PartKey, meter: ProgressMeter, send: Callable[[Transfer], Awaitable[None]]
    ) -> None:
        """Return when the blob is there: begins a transfer with `send`, or joins the one under way. Raises what it raised."""
        while (transfer := self._transfers.get(key)) is not None and transfer.ending and transfer.task is not None:
            await asyncio.wait([transfer.task])
        if transfer is None:
            transfer = self._begin(key, send)
        transfer.holders.add(holder)
        transfer.meters[holder] = meter
        meter.start(key.digest)
        meter.rewind(key.digest, transfer.done, LayerState.SENDING)
        await self.follow(transfer)

    async def follow(self, transfer: Transfer) -> None:
        """Return when the transfer is over, without holding it. Raises what it raised."""
        if transfer.task is not None:
            await asyncio.wait([transfer.task])
        if transfer.failure is not None:
            raise transfer.failure

    def hand_over(self, old_holder: PartKey, new_holder: PartKey) -> None:
        """Whatever one job holds, another one holds from now on."""
        for transfer in self._held_by(old_holder):
            transfer.holders.discard(old_holder)
            transfer.meters.pop(old_holder, None)
            transfer.holders.add(new_holder)

    def end(self, upstream: str | None = None) -> list[asyncio.Task[None]]:
        """End every transfer, or those to one upstream, whoever holds them; the tasks that are ending."""
        ending = []
        for transfer in self._transfers.values():
            if upstream in (None, transfer.key.upstream) and transfer.task is not None:
                transfer.holders.clear()
                transfer.meters.clear()
                transfer.ending = True
                transfer.task.cancel()
                ending.append(transfer.task)
        return ending

    def release(self, holder: PartKey, *, except_for: Collection[Digest] = ()) -> list[asyncio.Task[None]]:
        """The job needs them no more (except those of `except_for`); the tasks that are ending because of it."""
        ending = []
        for transfer in self._held_by(holder):
            if transfer.key.digest in except_for:
                continue
            transfer.holders.discard(holder)
            transfer.meters.pop(holder, None)
            if not transfer.holders and transfer.task is not None:
                transfer.ending = True
                transfer.task.cancel()
                ending.append(transfer.task)
        return ending

    def _held_by(self, holder: PartKey) -> list[Transfer]:
        return [transfer for transfer in self._transfers.values() if holder in transfer.holders]

    def _begin(self, key: TransferKey, send: Callable[[Transfer], Awaitable[None]]) -> Transfer:
        transfer = self._transfers[key] = Transfer(key)
        transfer.task = self._spawn(_run(transfer, send))

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                transfer.failure = TransferAbandoned(str(key.digest))
            del self._transfers[key]

        transfer.task.add_done_callback(ended)
        return transfer


async def _run(transfer: Transfer, send: Callable[[Transfer], Awaitable[None]]) -> None:
    try:
        await send(transfer)
    except Exception as error:  # noqa: BLE001 - it rises in each job that waits for it
        transfer.failure = error


class TransferAbandoned(Exception):
    """Nobody needed the blob any more; who comes now begins again."""
