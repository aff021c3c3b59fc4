"""Settings files that the tests start yarddesk with."""

NOWHERE = "upstreams: []\nserver: {port: 0}\n"
"""What leads to no upstream, and to no port that another test may hold."""


def push_everything_to(registry: str, *, name: str = "central", more: str = "") -> str:
    """A catch-all upstream, by plain HTTP, that takes pushes and serves pulls; registry: HOST:PORT."""
    return f"""\
upstreams:
  - name: {name}
    prefix: ""
    registry: {registry}
    push: true
    tls:
      plain_http: true
{more}"""
