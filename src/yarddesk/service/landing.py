"""Under which repositories and tags the images of a layout are imported."""

from collections.abc import Sequence
from dataclasses import dataclass

from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import Entry, InvalidLayout
from yarddesk.oci.name import ImageReference, RepositoryName, Tag, format_reference


@dataclass(frozen=True, slots=True)
class Landing:
    """An image of a layout on its way to a repository, under all of its tags; without one it's by digest alone."""

    root: Descriptor
    repository: RepositoryName
    tags: tuple[Tag, ...]

    def __str__(self) -> str:
        return format_reference(self.repository, self.tags[0] if self.tags else self.root.digest)


def land(entries: Sequence[Entry], wanted: ImageReference | None) -> list[Landing]:
    """Where each of these images goes: by the names that the layout gives them, or to the repository that is `wanted`.

    Where the layout has images of that repository, it's these alone. A tag or digest picks one image, and where there is but
    one it gets that tag. Raises InvalidLayout.
    """
    if wanted is None:
        return _gathered([(entry, *_named(entry)) for entry in entries])
    own = [entry for entry in entries if entry.repository == wanted.repository]
    if wanted.reference is None:
        return _gathered([(entry, wanted.repository, entry.tag) for entry in own or entries])
    chosen = _chosen(own, entries, wanted.reference)
    return _gathered([(chosen, wanted.repository, wanted.reference if isinstance(wanted.reference, Tag) else None)])


def _named(entry: Entry) -> tuple[RepositoryName, Tag | None]:
    if entry.repository is None:
        raise InvalidLayout(
            f"The layout does not say which repository {_called(entry)} belongs to.",
            hint="Say it: yarddesk import PATH REPOSITORY, or REPOSITORY:TAG for one image of several.",
        )
    return entry.repository, entry.tag


def _chosen(own: Sequence[Entry], entries: Sequence[Entry], reference: Tag | Digest) -> Entry:
    """The image that is meant: the repository's own of this name, else any of this name, else the only one there is."""
    if isinstance(reference, Digest):
        choices = [[entry for entry in entries if entry.descriptor.digest == reference]]
    else:
        choices = [
            [entry for entry in own if entry.tag == reference],
            [entry for entry in entries if entry.ref_name == reference],
            [entry for entry in entries if entry.tag == reference],
            list(entries),
        ]
    found = next((choice for choice in choices if choice), [])
    if len({entry.descriptor.digest for entry in found}) == 1:
        return found[0]
    there = ", ".join(_called(entry) for entry in entries[:10])
    which = "more than one may be" if found else "none of them is"
    raise InvalidLayout(f"The layout holds {there}; {which} {reference}.", hint="Choose one by its tag or digest.")


def _gathered(named: Sequence[tuple[Entry, RepositoryName, Tag | None]]) -> list[Landing]:
    """One landing for each image of a repository, with all of its tags."""
    images: dict[tuple[RepositoryName, Digest], tuple[Descriptor, list[Tag]]] = {}
    owners: dict[tuple[RepositoryName, Tag], Digest] = {}
    for entry, repository, tag in named:
        digest = entry.descriptor.digest
        _, tags = images.setdefault((repository, digest), (entry.descriptor, []))
        if tag is None:
            continue
        if owners.setdefault((repository, tag), digest) != digest:
            raise InvalidLayout(
                f"Two images of the layout would be {repository}:{tag}.", hint="Choose one by its digest."
            )
        if tag not in tags:
            tags.append(tag)
    return [Landing(root, repository, tuple(tags)) for (repository, _), (root, tags) in images.items()]


def _called(entry: Entry) -> str:
    name = entry.image_name or entry.ref_name
    return f"“{name[:160]}”" if name else str(entry.descriptor.digest)
