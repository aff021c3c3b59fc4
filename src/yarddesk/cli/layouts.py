"""Images out to an OCI image layout, and in from one."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from yarddesk.cli.output import complain, plural, print_json
from yarddesk.cli.works import perform
from yarddesk.control.works import Document
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference

_STREAM: Final = "-"


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    export = commands.add_parser(
        "export",
        parents=[common],
        help="carry images out to an OCI image layout",
        description="Carry images out to an OCI image layout: a folder, or a tar archive. What the layout holds stays in it.",
    )
    export.add_argument("references", nargs="+", metavar="REFERENCE", type=_reference, help="REPOSITORY[:TAG|@DIGEST]")
    export.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PATH",
        help="a folder; FILE.tar for an archive; - for one on standard output",
    )
    export.add_argument("--referrers", action="store_true", help="also what is about them: signatures, SBOMs")
    export.add_argument("--json", action="store_true", help="for programs")
    export.set_defaults(run=_export)
    bring = commands.add_parser(
        "import",
        parents=[common],
        help="bring images in from an OCI image layout",
        description="Bring images in from an OCI image layout, as if they had been pushed.",
    )
    bring.add_argument("path", metavar="PATH", help="a folder or a tar archive; - for an archive on standard input")
    bring.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        type=_reference,
        help="the repository that they go to; with :TAG or @DIGEST one image alone",
    )
    bring.add_argument("--json", action="store_true", help="for programs")
    bring.set_defaults(run=_import)


def _export(options: argparse.Namespace) -> int:
    images: list[Document] = []
    with _output(options.output) as (path, printed):
        result = perform(
            options,
            "export",
            found=images.append,
            images=options.references,
            path=path,
            referrers=options.referrers,
        )
        transport = "oci" if Path(path).is_dir() else "oci-archive"
        if options.json:
            print_json({**result, "images": images}, printed)
    for image in images:
        name = f":{image['name']}" if image["name"] else ""
        if not options.json and options.output != _STREAM:
            print(f"{image['image']} → {transport}:{path}{name}")
        _tell_missing(image, "here, and not in the layout")
    return 0


def _import(options: argparse.Namespace) -> int:
    images: list[Document] = []

    def take(image: Document) -> None:
        images.append(image)
        if not options.json:
            print(f"{image['image']}  {image['digest']}")
            for tag in image["tags"][1:]:
                print(f"{image['repository']}:{tag}  {image['digest']}")
        _tell_missing(image, "in the layout; its index waits for them before it goes upstream")

    with _input(options.path) as path:
        result = perform(options, "import", found=take, path=path, image=options.reference)
    for left in result["left_out"]:
        complain(f"left out: {left}")
    if options.json:
        print_json({**result, "images": images})
    return 0


def _tell_missing(image: Document, where: str) -> None:
    missing = image["missing"]
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        verb = "is" if len(missing) == 1 else "are"
        complain(
            f"{image['image']}: {plural(len(missing), 'of its platforms', 'of its platforms')} {verb} not {where}: {shown}"
        )


@contextmanager
def _output(output: str) -> Iterator[tuple[str, Any]]:
    """Where the instance writes, and where we print: an archive goes to standard output when it's whole."""
    if output != _STREAM:
        yield os.path.abspath(output), sys.stdout
        return
    if sys.stdout.isatty():
        raise YarddeskError("An archive is not for a terminal.", hint="Redirect it, or name a PATH.")
    with tempfile.TemporaryDirectory(prefix="yarddesk-export-") as folder:
        path = os.path.join(folder, "images.tar")
        yield path, sys.stderr
        with open(path, "rb") as archive:
            shutil.copyfileobj(archive, sys.stdout.buffer, 1024 * 1024)
        sys.stdout.buffer.flush()


@contextmanager
def _input(path: str) -> Iterator[str]:
    """Where the instance reads."""
    if path != _STREAM:
        yield os.path.abspath(path)
        return
    with tempfile.TemporaryDirectory(prefix="yarddesk-import-") as folder:
        spooled = os.path.join(folder, "images.tar")
        with open(spooled, "wb") as archive:
            shutil.copyfileobj(sys.stdin.buffer, archive, 1024 * 1024)
        yield spooled


def _reference(text: str) -> str:
    try:
        ImageReference.parse(text)
    except YarddeskError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error
    return text
