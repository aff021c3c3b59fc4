"""Configuration of container engines that was there before us: with keys, comments and an order of their own."""

from __future__ import annotations

DAEMON_JSON = """{
\t"debug": true,
\t"insecure-registries" : [
\t\t"10.0.0.1:5000", "10.1.0.0/16"
\t],
\t"registry-mirrors": ["http://127.0.0.1:9"],
\t"labels": ["here=there"]
}"""

REGISTRIES_CONF = """# own settings
unqualified-search-registries = ["docker.io", "quay.io"]

[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "mirror.example"
"""

DROP_IN = '[[registry]]\nlocation = "other.example"\ninsecure = true\n'
