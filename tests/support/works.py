"""Works without a command: what they report is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from yarddesk.control.works import Document


@dataclass
class Reported:
    """A Report that remembers."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    items: list[Document] = field(default_factory=list)

    def progress(self, **figures: int | str) -> None:
        self.figures.append(figures)

    async def item(self, document: Document) -> None:
        self.items.append(document)
