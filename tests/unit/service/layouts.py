"""Exports from and imports into stores, as the works do them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.lonely_registry import Pushes
from tests.support.works import Reported
from yarddesk.content.store import Store
from yarddesk.oci.name import ImageReference, RepositoryName
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.service.exports import Exports
from yarddesk.service.imports import Imports


def as_it_is(repository: RepositoryName) -> RepositoryName:
    return repository


async def export(store: Store, path: Path, *images: str, referrers: bool = False) -> Sequence[Any]:
    """The items of an export."""
    report = Reported()
    wanted = [ImageReference.parse(image) for image in images]
    result = await Exports(store, as_it_is).export(wanted, path, report, referrers=referrers)
    assert result == {"path": str(path), "images": len(report.items)}
    return report.items


async def bring_in(
    store: Store, path: Path, image: str = "", *, pushes: Pushes | None = None
) -> tuple[Sequence[Any], Sequence[str]]:
    """The items of an import, and what it left out."""
    report = Reported()
    intake = ManifestIntake(store, pushes or Pushes(), Gate())
    wanted = ImageReference.parse(image) if image else None
    result = await Imports(store, intake, as_it_is).run(path, wanted, report)
    return report.items, result["left_out"]
