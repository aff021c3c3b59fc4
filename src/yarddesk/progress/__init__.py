"""How far a transfer is: counters that workers add to, read as immutable snapshots."""

from yarddesk.progress.meter import LayerProgress, LayerState, ProgressMeter, TransferProgress
from yarddesk.progress.rate import RateEstimator

__all__ = ["LayerProgress", "LayerState", "ProgressMeter", "RateEstimator", "TransferProgress"]
