"""Small files on their way to their final names."""

import os
import uuid

from yarddesk.storage.durable import remove_if_there, write_durably
from yarddesk.storage.layout import BESIDE_PREFIX, TEMPORARY_PREFIX, UPLOADS, Parts
from yarddesk.storage.tree import Tree


def place_content(
    tree: Tree,
    content: bytes,
    parts: Parts,
    name: str,
    *,
    temporary: str | None = None,
    counted: bool = False,
    sync: bool = True,
) -> None:
    """Have these bytes under a name below the tree, whole or not at all, durable on return (as `Tree.place` has it). Blocks.

    `temporary`: the path by way of which they come, on the same file system, of a name that whoever is next there sweeps;
    where none is given, in `uploads/` of DATA, which is swept at the start.
    """
    temporary = temporary or os.path.join(tree.make((UPLOADS,)), f"{TEMPORARY_PREFIX}{uuid.uuid4()}")
    write_durably(temporary, content)
    try:
        tree.place(temporary, parts, name, counted=counted, sync=sync)
    except BaseException:
        remove_if_there(temporary)
        raise


def remove_temporaries(root: str) -> None:
    """Remove what a run that was cut off left half-written in DATA itself. Before this run writes anything there. Blocks."""
    with os.scandir(root) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(BESIDE_PREFIX)]
    for path in left:
        remove_if_there(path)
