"""Our copy of some content on its way out, within the bandwidth, and counted as it goes."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from yarddesk.content.target import ContentSource, Damaged, DigestMismatch, MountingTarget, NotFound, Target, Turn
from yarddesk.oci.descriptor import Descriptor
from yarddesk.sync.errors import LocalContentDamaged, LocalContentMissing
from yarddesk.sync.slots import Bandwidth
from yarddesk.sync.transfers import Transfer


class Outgoing:
    """One blob or manifest; what is wrong with our copy is kept apart from what fails over there.

    That it hashes to its name is seen to by the target that takes it, before it's complete there (Target.push).
    """

    def __init__(self, source: Target, descriptor: Descriptor, bandwidth: Bandwidth, transfer: Transfer | None) -> None:
        self._source = source
        self._descriptor = descriptor
        self._bandwidth = bandwidth
        self._transfer = transfer
        self._gone: LocalContentMissing | LocalContentDamaged | None = None

    async def push_to(self, destination: MountingTarget, turn: Turn | None = None) -> None:
        """Raises LocalContentMissing, LocalContentDamaged, and what the destination raises."""
        opener: ContentSource = self._open
        try:
            await destination.push(self._descriptor, opener, turn=turn)
        except DigestMismatch as error:
            raise LocalContentDamaged(
                f"Our copy of {self._descriptor.digest} is damaged and was not sent.",
                str(error),
                hint="Push the image again.",
            ) from error
        except Exception as error:
            if self._gone is not None and error is not self._gone:
                raise self._gone from error
            raise

    def _open(self, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._opened(offset)

    @asynccontextmanager
    async def _opened(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if self._transfer is not None:
            self._transfer.opened(offset)
        async with aclosing(self._pieces(offset)) as pieces:
            yield pieces

    async def _pieces(self, offset: int) -> AsyncGenerator[bytes, None]:
        descriptor = self._descriptor
        try:
            async with self._source.fetch(descriptor, offset=offset) as content:
                async for piece in content:
                    for part in self._cut(piece):
                        await self._bandwidth.take(len(part))
                        if self._transfer is not None:
                            self._transfer.sent(len(part))
                        yield part
        except NotFound as error:
            self._gone = (
                LocalContentDamaged.of(error) if isinstance(error, Damaged) else LocalContentMissing.of(descriptor)
            )
            raise self._gone from error

    def _cut(self, piece: bytes) -> Iterable[bytes]:
        """Pieces as the limit is at that moment."""
        rest = memoryview(piece)
        while self._bandwidth.is_limited and len(rest) > (size := self._bandwidth.piece_bytes):
            yield bytes(rest[:size])
            rest = rest[size:]
        yield piece if len(rest) == len(piece) else bytes(rest)
