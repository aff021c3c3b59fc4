"""What can be wrong with our own copy of what is to be synced, and with what is wanted of the queue."""

from collections.abc import Sequence
from typing import Self

from yarddesk.content.target import Damaged
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest


class LocalContentGone(YarddeskError):
    """The manifest that a job names is no longer here: there is nothing left to sync."""


class LocalContentMissing(YarddeskError):
    """A blob that a manifest needs is neither here nor upstream."""

    @classmethod
    def of(cls, content: Descriptor) -> Self:
        return cls(f"{content.digest} is neither here nor upstream.", hint="Push the image again.")


class LocalContentDamaged(YarddeskError):
    """Our copy doesn't hash to its name any more, so it was not sent."""

    @classmethod
    def of(cls, error: Damaged) -> Self:
        """What the store says of it."""
        return cls(error.title, f"{error.message} It was not sent.".lstrip(), hint=error.hint)


class ChildrenMissing(YarddeskError):
    """An index names manifests that are neither here nor upstream yet; all the others went up."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        named = ", ".join(str(digest) for digest in digests[:5])
        more = f" and {len(digests) - 5} more" if len(digests) > 5 else ""
        count = "One platform of this index is" if len(digests) == 1 else f"{len(digests)} platforms of this index are"
        super().__init__(
            f"{count} not pushed yet: {named}{more}.",
            hint="It goes on by itself once they are here or upstream.",
        )
        self.digests = tuple(digests)


class NothingToTry(YarddeskError):
    """What was to be tried now is queued, and pauses or the settings keep all of it back."""

    def __init__(self, images: Sequence[str], reasons: str, hint: str) -> None:
        whom = f"Nothing of {images[0]}" if len(images) == 1 else f"None of {len(images)} images"
        # Both in the hint: the window shows what else there is only to those who ask for details.
        super().__init__(f"{whom} can be tried now.", hint=f"{reasons} {hint}")
