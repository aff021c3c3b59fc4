"""The registries behind us: which of them a name leads to, and a client for each (httpx)."""
