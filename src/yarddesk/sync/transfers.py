"""Blobs on their way to upstreams. Two jobs that need the same blob there share one transfer of it.

A transfer lives as long as some job holds it: it ends when the last one lets go, so a pause or a cancel stops it at once, while
a newer push of the same tag, or the index that takes over a platform's job, inherits what is halfway through. What a pause or a
failure ended rests: the job still wants it, and the upstream may go on where it was. When no job wants it any more, the
upstream is told.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.schedule import PartKey

_MOST_BROKEN: Final = 1000
MOST_RESTING: Final = 256
"""More than these are forgotten: upstreams forget what nobody goes on with by themselves."""


class TransferKey(NamedTuple):
    """A blob on its way to one repository of one upstream."""

    upstream: str
    repository: RepositoryName
    digest: Digest


@dataclass(slots=True, eq=False)
class Transfer:
    """One transfer as those who wait for it see it: `done` bytes are out. Each holder has a meter of its own.

    `wanted_by`: who held it when it ended, and wants it still.
    """

    key: TransferKey
    done: int = 0
    holders: set[PartKey] = field(default_factory=set)
    meters: dict[PartKey, ProgressMeter] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    failure: Exception | None = None
    ending: bool = False
    wanted_by: set[PartKey] = field(default_factory=set)

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
    """All transfers under way. Tasks belong to whoever hands in `spawn`; `abandoned` is told of those that nobody wants any more."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        abandoned: Callable[[TransferKey], None] = lambda _: None,
    ) -> None:
        self._spawn = spawn
        self._abandoned = abandoned
        self._transfers: dict[TransferKey, Transfer] = {}
        self._resting: OrderedDict[TransferKey, set[PartKey]] = OrderedDict()
        self._broken: OrderedDict[TransferKey, int] = OrderedDict()
        self._breaks = 0

    def find(self, key: TransferKey) -> Transfer | None:
        return self._transfers.get(key)

    def broken(self, key: TransferKey) -> int:
        """Another number after each transfer of it that ended badly: what it brought may be there all the same."""
        return self._broken.get(key, 0)

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
        for wanted_by in self._wanted_by(old_holder).values():
            wanted_by.discard(old_holder)
            wanted_by.add(new_holder)

    def end(self, upstream: str | None = None) -> list[asyncio.Task[None]]:
        """End every transfer, or those to one upstream, whoever holds them: they rest. The tasks that are ending."""
        ending = []
        for transfer in self._transfers.values():
            if upstream in (None, transfer.key.upstream):
                transfer.wanted_by |= transfer.holders
                transfer.holders.clear()
                transfer.meters.clear()
                ending += _ended(transfer)
        return ending

    def rest(self, holder: PartKey) -> list[asyncio.Task[None]]:
        """The job goes on with them later; the tasks that are ending because of it."""
        ending = []
        for transfer in self._held_by(holder):
            transfer.wanted_by.add(holder)
            ending += self._let_go(transfer, holder)
        return ending

    def release(self, holder: PartKey, *, except_for: Collection[Digest] = ()) -> list[asyncio.Task[None]]:
        """The job needs them no more (except those of `except_for`); the tasks that are ending because of it."""
        ending = []
        for transfer in self._held_by(holder):
            if transfer.key.digest not in except_for:
                ending += self._let_go(transfer, holder)
        for key, wanted_by in self._wanted_by(holder).items():
            if key.digest not in except_for:
                wanted_by.discard(holder)
                if not wanted_by and self._resting.pop(key, None) is not None:
                    self._abandoned(key)
        return ending

    def _let_go(self, transfer: Transfer, holder: PartKey) -> list[asyncio.Task[None]]:
        transfer.holders.discard(holder)
        transfer.meters.pop(holder, None)
        return [] if transfer.holders else _ended(transfer)

    def _wanted_by(self, holder: PartKey) -> dict[TransferKey, set[PartKey]]:
        """What rests, or is about to, and is wanted by this job; by which jobs in all."""
        resting = {key: wanted_by for key, wanted_by in self._resting.items() if holder in wanted_by}
        ending = {key: each.wanted_by for key, each in self._transfers.items() if holder in each.wanted_by}
        return resting | ending

    def _held_by(self, holder: PartKey) -> list[Transfer]:
        return [transfer for transfer in self._transfers.values() if holder in transfer.holders]

    def _begin(self, key: TransferKey, send: Callable[[Transfer], Awaitable[None]]) -> Transfer:
        transfer = self._transfers[key] = Transfer(key, wanted_by=self._resting.pop(key, set()))
        transfer.task = self._spawn(_run(transfer, send))

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                transfer.failure = TransferAbandoned(str(key.digest))
            del self._transfers[key]
            if transfer.failure is not None:
                self._note_break(key)
                self._ended_halfway(transfer)

        transfer.task.add_done_callback(ended)
        return transfer

    def _note_break(self, key: TransferKey) -> None:
        self._breaks += 1
        self._broken[key] = self._breaks
        self._broken.move_to_end(key)
        while len(self._broken) > _MOST_BROKEN:
            self._broken.popitem(last=False)

    def _ended_halfway(self, transfer: Transfer) -> None:
        wanted_by = transfer.wanted_by | transfer.holders
        if not wanted_by:
            self._abandoned(transfer.key)
            return
        self._resting[transfer.key] = wanted_by
        while len(self._resting) > MOST_RESTING:
            self._resting.popitem(last=False)


def _ended(transfer: Transfer) -> list[asyncio.Task[None]]:
    if transfer.task is None:
        return []
    transfer.ending = True
    transfer.task.cancel()
    return [transfer.task]


async def _run(transfer: Transfer, send: Callable[[Transfer], Awaitable[None]]) -> None:
    try:
        await send(transfer)
    except Exception as error:  # noqa: BLE001 - it rises in each job that waits for it
        transfer.failure = error


class TransferAbandoned(Exception):
    """Nobody needed the blob any more; who comes now begins again."""
