"""Images of Docker's own types in a layout: listed in OCI's, which is all that some tools read, with the original beside."""

from collections.abc import AsyncIterator
from dataclasses import replace

from yarddesk.content.graph import Graph, read_graph
from yarddesk.content.target import DigestMismatch, NotFound, Target
from yarddesk.content.threads import in_thread
from yarddesk.oci.conversion import as_oci, is_dockers_own
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import Entry
from yarddesk.oci.manifest import InvalidManifest, Manifest
from yarddesk.storage.oci_layout import OciLayout, WritableLayout


async def listed(source: Target, graph: Graph, layout: WritableLayout) -> Manifest:
    """The manifest by which a layout, which has all of the graph, lists it: its root, or what that is in OCI's types."""
    if not is_dockers_own(graph.root.media_type):
        return await source.fetch_manifest(graph.root.digest)
    async for manifest in _in_oci_types(source, graph):
        await layout.put_manifest(manifest)
    return manifest


async def as_it_was(layout: OciLayout, entry: Entry) -> Entry:
    """The entry, with the original in place of what was made of it: only if that is what would be made of it again.

    Tools that change an image keep the note of what its forerunner was made of.
    """
    if entry.original is None:
        return entry
    try:
        graph = await read_graph(layout, entry.original)
        became = [manifest.digest async for manifest in _in_oci_types(layout, graph)]
    except (NotFound, DigestMismatch, InvalidManifest):
        return entry
    return replace(entry, descriptor=graph.root) if became[-1] == entry.descriptor.digest else entry


async def _in_oci_types(source: Target, graph: Graph) -> AsyncIterator[Manifest]:
    """What each manifest becomes, the root last."""
    became: dict[Digest, Descriptor] = {}
    for digest in graph.nodes:
        manifest = await in_thread(as_oci, await source.fetch_manifest(digest), became)
        became[digest] = manifest.descriptor
        yield manifest
