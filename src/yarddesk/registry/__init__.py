"""The registry itself: the OCI distribution specification v1.1 over HTTP, and the server that carries it."""
