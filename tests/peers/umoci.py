"""umoci, which unpacks, changes and repacks the images of an OCI image layout."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import CommandLine, clean_environment


class Umoci(CommandLine):
    """umoci; has no store but the layouts that it is given (`--image FOLDER:TAG`)."""

    def __init__(self, home: Path) -> None:
        super().__init__(["umoci"], environment=clean_environment(home))
