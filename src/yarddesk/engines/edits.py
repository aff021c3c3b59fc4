"""Changes of a text that are insertions alone, so that they can be taken back exactly with nothing of the text kept."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Insertion:
    """Text put into another. offset: where it begins, in characters of the text right after this insertion."""

    offset: int
    text: str

    def apply(self, text: str) -> str:
        return text[: self.offset] + self.text + text[self.offset :]


def insert(text: str, insertions: Sequence[Insertion]) -> str:
    """The text with all of them, one after the other."""
    for insertion in insertions:
        text = insertion.apply(text)
    return text


def take_back(text: str, insertions: Sequence[Insertion]) -> str | None:
    """The text without them, the last one first; None where one of them isn't there."""
    for insertion in reversed(insertions):
        end = insertion.offset + len(insertion.text)
        if text[insertion.offset : end] != insertion.text:
            return None
        text = text[: insertion.offset] + text[end:]
    return text
