"""Which manifests of one repository go together: an image is a root with all that it lists and all that is about it."""

from collections.abc import Collection, Iterable

from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.name import Tag, is_about
from yarddesk.storage.contents import Contents
from yarddesk.storage.references import packed


class Family:
    """Looks at a repository as it is now. Pure."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._tags: dict[Digest, list[Tag]] = {}
        self._listed_by: dict[Digest, set[Digest]] = {}
        self._about: dict[Digest, set[Digest]] = {}
        self._subjects: dict[Digest, set[Digest]] = {}
        by_name = {packed(digest): digest for digest in contents.manifests}
        for tag, digest in contents.tags.items():
            self._tags.setdefault(digest, []).append(tag)
            if is_about(tag) and digest in contents.manifests:
                self._is_about(digest, _subject_in(tag, contents))
        for digest, held in contents.manifests.items():
            # Of one that can't be read: it may list whatever it names.
            children = held.children if held.readable else (by_name[name] for name in held.names if name in by_name)
            for child in children:
                self._listed_by.setdefault(child, set()).add(digest)
            self._is_about(digest, held.subject)

    def tags(self, digests: Iterable[Digest]) -> list[Tag]:
        """Those that name any of these."""
        return [tag for digest in digests for tag in self._tags.get(digest, ())]

    def roots(self) -> list[Digest]:
        """The manifests that belong to no other: none lists them, and what they are about is not here."""
        return [digest for digest in self._contents.manifests if self.is_root(digest)]

    def is_root(self, digest: Digest) -> bool:
        return digest in self._contents.manifests and not self._listed_by.get(digest) and not self._subjects.get(digest)

    def image(self, root: Digest) -> list[Digest]:
        """What would go with a root, itself first: not what another image lists, too, or a tag names by itself."""
        reached = self._reached(root)
        staying = {each for each in reached if each != root and self._stays_by_tag(each, reached)}
        left = [each for each in reached if each != root and each not in staying]
        while True:
            more = {each for each in left if any(o in staying or o not in reached for o in self._owners(each))}
            if not more:
                return [root, *left]
            staying |= more
            left = [each for each in left if each not in more]

    def _owners(self, digest: Digest) -> set[Digest]:
        return self._listed_by.get(digest, set()) | self._subjects.get(digest, set())

    def _reached(self, root: Digest) -> dict[Digest, None]:
        found: dict[Digest, None] = {}
        left = [root]
        while left:
            each = left.pop()
            if each not in found and each in self._contents.manifests:
                found[each] = None
                left += self._contents.manifests[each].children
                left += self._about.get(each, ())
        return found

    def _stays_by_tag(self, digest: Digest, reached: Collection[Digest | None]) -> bool:
        """Whether a tag names it that isn't only there to say what it's about."""
        return any(
            not is_about(tag) or _subject_in(tag, self._contents) not in reached for tag in self._tags.get(digest, ())
        )

    def _is_about(self, digest: Digest, subject: Digest | None) -> None:
        if subject is not None and subject != digest and subject in self._contents.manifests:
            self._about.setdefault(subject, set()).add(digest)
            self._subjects.setdefault(digest, set()).add(subject)


def _subject_in(tag: Tag, contents: Contents) -> Digest | None:
    """What a tag like `sha256-HEX.sig` is about, if that is here."""
    algorithm, _, rest = tag.partition("-")
    wanted = f"{algorithm}:{rest.partition('.')[0]}"
    try:
        subject = Digest.parse(wanted)
    except InvalidDigest:  # the specification cuts off what is longer than 64 digits
        return next((digest for digest in contents.manifests if digest.startswith(wanted)), None)
    return subject if subject in contents.manifests else None
