"""The protocols between storage, upstreams, cache, sync and the registry, and what each promises."""
