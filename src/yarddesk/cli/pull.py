"""`yarddesk pull`: have images here before they are asked for."""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Sequence
from typing import Any, Final

from yarddesk.cli.image_files import NamedImages, images_in
from yarddesk.cli.output import complain, plural, print_json, size
from yarddesk.cli.works import perform
from yarddesk.control.works import Document
from yarddesk.errors import YarddeskError
from yarddesk.oci.platforms import parse_platform

_ALL: Final = "all"
_BATCH_BYTES: Final = 32 * 1024
"""Names go to the instance a few at a time: a request of the control API is small."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    parser = commands.add_parser(
        "pull",
        parents=[common],
        help="fetch images from their upstreams, so that they are here when they are needed",
        description="Fetch images from their upstreams, so that they are here when they are needed. A tag that was pushed here and "
        "has no way upstream is replaced by the upstream's.",
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="REFERENCE",
        help="as for docker pull, or a repository of ours; without a tag: latest",
    )
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="all images that a compose file or Kubernetes objects name; - is standard input",
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH[/VARIANT]",
        type=_platform,
        help=f"of images for several; more than once, or {_ALL} (this machine's: {_this_platform()})",
    )
    parser.add_argument("--no-referrers", action="store_true", help="without signatures, SBOMs and attestations")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_pull)


def _pull(options: argparse.Namespace) -> int:
    """1 where one of them could not be had, whatever became of the others."""
    if not (options.images or options.file):
        complain("There is nothing to pull. Name images, or a file that names them: -f compose.yaml.")
        return 2
    from_files = NamedImages()
    for file in options.file:
        from_files.update(images_in(file, os.environ))
    unclear = from_files.unclear
    for each in unclear:
        complain(each)
    if options.file and not (from_files.images or unclear):
        complain(f"No image is named in {', '.join(options.file)}.")
    items: list[Document] = []
    for names, platforms, foreign in _wanted(options, from_files):
        for batch in _batches(names):
            perform(
                options,
                "pull",
                found=items.append if options.json else _Shown(items),
                images=batch,
                platforms=platforms,
                foreign=foreign,
                referrers=not options.no_referrers,
            )
    failed = sum(item["error"] is not None for item in items) + len(unclear)
    if options.json:
        print_json({"images": items, "unclear": unclear})
    elif failed:
        complain(f"{plural(failed, 'image')} of {len(items) + len(unclear)} could not be had.")
    return 1 if failed else 0


def _wanted(options: argparse.Namespace, from_files: NamedImages) -> Iterator[tuple[list[str], list[str] | None, bool]]:
    """Names, of indexes what is wanted (None: all), and whether a file has them. What a file says goes where no option does."""
    asked = None if _ALL in options.platform else options.platform or [_this_platform()]
    yield options.images, asked, False
    groups: dict[tuple[str, ...], list[str]] = {}
    for image, said in from_files.images.items():
        groups.setdefault(() if options.platform else tuple(said), []).append(image)
    for platforms, names in groups.items():
        yield names, [each or _this_platform() for each in platforms] or asked, True


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        length = len(json.dumps(name))
        if batch and size + length > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += length
    if batch:
        yield batch


class _Shown:
    """Each image in a line, as soon as it's here."""

    def __init__(self, items: list[Document]) -> None:
        self._items = items

    def __call__(self, item: Document) -> None:
        self._items.append(item)
        if item["digest"] is not None:
            platforms = f"  {', '.join(item['platforms'])}" if item["platforms"] else ""
            print(f"{item['name']}  {item['digest']}  {size(item['size'])}, {size(item['fetched'])} fetched{platforms}")
        for remark in item.get("remarks", ()):
            complain(f"{item['name']}: {remark}")
        if item["error"] is not None:
            error = YarddeskError(item["error"]["title"], item["error"]["message"], hint=item["error"]["hint"])
            complain(f"{item['image']}: {error}")


def _platform(text: str) -> str:
    if text == _ALL:
        return text
    try:
        return str(parse_platform(text))
    except YarddeskError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def _this_platform() -> str:
    """What containers are for on this machine: Linux, also where they run in a virtual machine."""
    return str(parse_platform(f"linux/{platform.machine() or 'amd64'}"))
