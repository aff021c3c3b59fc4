"""How many bytes are stored: counted once, folder by folder, and kept up to date from the first moment."""

from collections.abc import Callable


class Usage:
    """The count. While it's going on, a change counts only in folders that were counted already: the others are still to come.

    Every method is called with the tree's lock held; so a folder is listed, and a file put there, one after the other.
    """

    def __init__(self) -> None:
        self.total = 0
        self._counted: set[str] | None = set()

    @property
    def complete(self) -> bool:
        return self._counted is None

    def folder_made(self, folder: str) -> None:
        """A folder of ours that is new is empty: nothing in it will have been there before the count."""
        if self._counted is not None:
            self._counted.add(folder)

    def folder_removed(self, folder: str) -> None:
        if self._counted is not None:
            self._counted.discard(folder)

    def changed(self, folder: str, difference: int) -> None:
        """Files in `folder` hold this many bytes more, or fewer."""
        if self._counted is None or folder in self._counted:
            self.total += difference

    def count(self, folder: str, measure: Callable[[], int]) -> None:
        """Add what lies in a folder, unless it was counted."""
        if self._counted is not None and folder not in self._counted:
            self.total += measure()
            self._counted.add(folder)

    def finish(self) -> None:
        self._counted = None
