"""How registries are called: one name for the many that Docker Hub has."""

from typing import Final

DOCKER_HUB: Final = "docker.io"
"""Docker Hub as people and credential stores know it."""

DOCKER_HUB_HOST: Final = "registry-1.docker.io"
"""The host that serves Docker Hub's content."""

_DOCKER_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", DOCKER_HUB_HOST})


def is_docker_hub(registry: str) -> bool:
    """Whether `host[:port]` is one of Docker Hub's names."""
    return registry_key(registry) == DOCKER_HUB


def registry_key(registry: str) -> str:
    """The one name of a registry, by which its credentials are kept: `host[:port]` in lower case.

    Takes what people and other programs write: a scheme, a path (`https://index.docker.io/v1/`) and https's own port go.
    """
    bare = registry.strip().lower().partition("://")[2] or registry.strip().lower()
    host = bare.partition("/")[0].removesuffix(":443")
    return DOCKER_HUB if host in _DOCKER_HUB_NAMES else host
