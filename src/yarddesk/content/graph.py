"""What belongs to an image: the graph below a manifest, as far as a target has it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from yarddesk.content.target import NotFound, Target
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.media_types import ALL_MANIFESTS

MAX_MANIFESTS: Final = 5_000
MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest without its bytes: the blobs and manifests that it names, and what it's about."""

    descriptor: Descriptor
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Digest, ...] = ()
    subject: Digest | None = None


@dataclass(slots=True)
class Graph:
    """`nodes` by digest, each after all of its children; `missing`: manifests that an index names and that are not there."""

    root: Descriptor
    nodes: dict[Digest, Node] = field(default_factory=dict)
    missing: dict[Digest, Descriptor] = field(default_factory=dict)

    def below(self, digest: Digest) -> Iterator[Node]:
        """The node and all below it that we have, each once, in no order."""
        seen, left = {digest}, [digest]
        while left:
            node = self.nodes.get(left.pop())
            if node is None:
                continue
            yield node
            left += [child for child in dict.fromkeys(node.children) if child not in seen]
            seen.update(node.children)

    @property
    def blobs(self) -> dict[Digest, Descriptor]:
        """All blobs, each once, in the order of the manifests."""
        return {blob.digest: blob for node in self.nodes.values() for blob in node.blobs}


async def read_graph(source: Target, root: Digest, *, whole: bool = False) -> Graph:
    """Read the graph below a manifest. Raises NotFound where the manifest itself is not there.

    `whole`: what an index names and `source` has without its blobs is taken for missing, too.
    """
    manifest = await source.fetch_manifest(root)
    graph = Graph(manifest.descriptor)
    await _read(source, manifest, graph, 1, whole)
    return graph


async def _read(source: Target, manifest: Manifest, graph: Graph, depth: int, whole: bool) -> None:
    if depth > MAX_DEPTH:
        raise YarddeskError(f"Its indexes are nested more than {MAX_DEPTH} deep.")
    blobs = {blob.digest: blob for blob in manifest.blobs}
    for child in manifest.manifests:
        if child.digest in graph.nodes or child.digest in graph.missing or child.digest in blobs:
            continue
        if len(graph.nodes) + len(graph.missing) >= MAX_MANIFESTS:
            raise YarddeskError(f"It names more than {MAX_MANIFESTS:,} manifests.")
        try:
            found = await source.fetch_manifest(child.digest)
        except NotFound:
            blob = replace(child, manifest=False)
            if child.media_type not in ALL_MANIFESTS and await source.exists(blob):
                blobs[child.digest] = blob  # BuildKit's cache is an index that names layers
            else:
                graph.missing[child.digest] = child
            continue
        if whole and not await _has_blobs(source, found):
            graph.missing[child.digest] = child
        else:
            await _read(source, found, graph, depth + 1, whole)
    children = tuple(child.digest for child in manifest.manifests if child.digest not in blobs)
    subject = manifest.subject.digest if manifest.subject else None
    graph.nodes[manifest.digest] = Node(manifest.descriptor, tuple(blobs.values()), children, subject)


async def _has_blobs(source: Target, manifest: Manifest) -> bool:
    for blob in manifest.required_blobs:
        if not await source.exists(blob):
            return False
    return True


async def descendants(source: Target, manifest: Manifest) -> set[Digest]:
    """Every manifest that an index carries, as far as the indexes below it are here."""
    carried = {child.digest for child in manifest.manifests}
    nested = [child for child in manifest.manifests if child.is_index]
    if nested:
        graph = await read_graph(source, manifest.digest)
        carried |= (graph.nodes.keys() | graph.missing.keys()) - {manifest.digest}
    return carried
