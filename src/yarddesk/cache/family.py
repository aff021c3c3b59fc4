"""Which manifests of one repository go together: an image is a root with all that it lists and all that is about it."""

from collections.abc import Collection, Iterable

from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.name import Tag, is_about, tags_about
from yarddesk.storage.contents import Contents


class Family:
    """Looks at a repository as it is now, and is true until that changes. What it does not ask for costs nothing."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._tagged = contents.tagged()

    def tags(self, digests: Iterable[Digest]) -> list[Tag]:
        """Those that name any of these."""
        return [tag for digest in digests for tag in self._tagged.to(digest)]

    def roots(self) -> list[Digest]:
        """The manifests that belong to no other: none lists them, and what they are about is not here."""
        return [digest for digest in self._contents.manifests if self.is_root(digest)]

    def is_root(self, digest: Digest) -> bool:
        return digest in self._contents.manifests and not self._owners(digest)

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

    def _owners(self, digest: Digest) -> list[Digest]:
        """What lists it, and what it is about."""
        subjects = [self._contents.manifests[digest].subject]
        subjects += [self._subject_in(tag) for tag in self._tagged.to(digest) if is_about(tag)]
        owners = [*self._contents.listed_by(digest), *subjects]
        return [each for each in owners if each is not None and each != digest and each in self._contents.manifests]

    def _about(self, digest: Digest) -> list[Digest]:
        about = list(self._contents.about(digest))
        about += [self._contents.tags[tag] for tag in tags_about(digest) if tag in self._contents.tags]
        return [each for each in about if each != digest]

    def _reached(self, root: Digest) -> dict[Digest, None]:
        found: dict[Digest, None] = {}
        left = [root]
        while left:
            each = left.pop()
            if each not in found and each in self._contents.manifests:
                found[each] = None
                left += self._contents.manifests[each].children
                left += self._about(each)
        return found

    def _stays_by_tag(self, digest: Digest, reached: Collection[Digest | None]) -> bool:
        """Whether a tag names it that isn't only there to say what it's about."""
        return any(not is_about(tag) or self._subject_in(tag) not in reached for tag in self._tagged.to(digest))

    def _subject_in(self, tag: Tag) -> Digest | None:
        """What a tag like `sha256-HEX.sig` is about, if that is here."""
        algorithm, _, rest = tag.partition("-")
        wanted = f"{algorithm}:{rest.partition('.')[0]}"
        try:
            subject = Digest.parse(wanted)
        except InvalidDigest:  # the specification cuts off what is longer than 64 digits
            cut_off = (each for each in self._contents.manifests if each.startswith(wanted))
            return next((each for each in cut_off if tag in tags_about(each)), None)
        return subject if subject in self._contents.manifests else None
