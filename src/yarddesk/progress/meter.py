"""The counters of one transfer (an image on its way to one upstream)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from yarddesk.oci.digest import Digest
from yarddesk.progress.rate import RateEstimator


class LayerState(StrEnum):
    """What became of one blob or manifest."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    THERE = "there"
    MOUNTED = "mounted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One blob or manifest: sizes in bytes."""

    digest: Digest
    size: int
    done: int = 0
    state: LayerState = LayerState.WAITING


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """A snapshot: sizes in bytes, `bytes_done` counts what is there or mounted too; `revision` changes with any counter."""

    revision: int
    bytes_done: int
    bytes_total: int
    bytes_sent: int
    bytes_saved: int
    bytes_per_second: float
    layers: tuple[LayerProgress, ...]

    @property
    def seconds_left(self) -> float | None:
        """None when it can't be told."""
        left = self.bytes_total - self.bytes_done
        if left <= 0:
            return 0.0
        if self.bytes_per_second < 1:
            return None
        return left / self.bytes_per_second


class ProgressMeter:
    """Workers call `plan`, `start`, `add`, `rewind`, `finish`; a window calls `snapshot`. Nothing is sent anywhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._layers: dict[Digest, LayerProgress] = {}
        self._rate = RateEstimator(clock=clock)
        self._sent = 0
        self._saved = 0
        self._revision = 0

    def plan(self, digest: Digest, size: int) -> None:
        """One more blob or manifest belongs to the transfer."""
        if digest not in self._layers:
            self._layers[digest] = LayerProgress(digest, size)
            self._revision += 1

    def start(self, digest: Digest) -> None:
        self._change(digest, state=LayerState.SENDING)

    def add(self, digest: Digest, count: int) -> None:
        """`count` bytes of it went out."""
        self._sent += count
        self._rate.add(count)
        self._change(digest, done=self._layers[digest].done + count)

    def rewind(self, digest: Digest, to: int = 0, state: LayerState = LayerState.WAITING) -> None:
        """An attempt failed: only `to` bytes of it are there."""
        lost = self._layers[digest].done - to
        self._rate.add(-lost)
        self._sent -= lost
        self._change(digest, done=to, state=state)

    def finish(self, digest: Digest, state: LayerState) -> None:
        """It's there: SENT, THERE or MOUNTED."""
        layer = self._layers[digest]
        if state in (LayerState.THERE, LayerState.MOUNTED):
            self._saved += layer.size - layer.done
        self._change(digest, done=layer.size, state=state)

    def snapshot(self) -> TransferProgress:
        layers = tuple(self._layers.values())
        return TransferProgress(
            revision=self._revision,
            bytes_done=sum(layer.done for layer in layers),
            bytes_total=sum(layer.size for layer in layers),
            bytes_sent=self._sent,
            bytes_saved=self._saved,
            bytes_per_second=self._rate.bytes_per_second(),
            layers=layers,
        )

    def _change(self, digest: Digest, *, done: int | None = None, state: LayerState | None = None) -> None:
        layer = self._layers[digest]
        self._layers[digest] = replace(
            layer, done=layer.done if done is None else done, state=layer.state if state is None else state
        )
        self._revision += 1
