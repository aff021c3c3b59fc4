"""The HTTP surface beside `/v2/`: the control API, health, metrics and version; and the client that the commands use."""
