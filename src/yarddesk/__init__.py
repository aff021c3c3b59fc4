"""A local OCI registry for a developer's laptop: push at disk speed, sync in the background, pull through a cache."""

__version__ = "0.1.0"
