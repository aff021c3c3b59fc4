"""What is stored: counted, listed, re-hashed, collected."""

import argparse
import sys
from typing import Any

from yarddesk.cli.options import duration
from yarddesk.cli.output import complain, plural, print_json, print_table, size
from yarddesk.cli.works import perform
from yarddesk.control.works import Document
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference, format_reference


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    for name, run, text in (("images", _images, "what is stored"), ("usage", _usage, "how much is stored")):
        parser = commands.add_parser(name, parents=[common], help=text, description=text)
        parser.add_argument("repository", nargs="?", metavar="REPOSITORY", help="of that one alone")
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.set_defaults(run=run)
    text = "collect what nothing refers to"
    gc = commands.add_parser("gc", parents=[common], help=text, description=text)
    gc.add_argument(
        "--grace",
        metavar="DURATION",
        type=duration,
        help="leave alone what is newer than this (1h); 0 may make a push that is under way begin anew",
    )
    gc.add_argument("--untagged", action="store_true", help="manifests, too, that no tag, index or subject leads to")
    gc.add_argument("--dry-run", action="store_true", help="say what would go")
    gc.add_argument("--json", action="store_true", help="for programs")
    gc.set_defaults(run=_gc)
    text = "hash all content anew; move aside what is damaged, and fetch it anew where an upstream has it"
    verify = commands.add_parser("verify", parents=[common], help=text, description=text)
    verify.add_argument("--json", action="store_true", help="for programs")
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    """1 where something was lost; what could be mended is said, and is 0: all that is stored is whole again."""
    result = perform(options, "verify")
    if options.json:
        print_json(result)
    else:
        print(
            f"Verified {size(result['bytes'])}: {plural(result['blobs'], 'blob')},"
            f" {plural(result['manifests'], 'manifest')}."
        )
        for each in result["amiss"]:
            _complain_of(each)
    return 1 if result["unmended"] else 0


def _complain_of(amiss: dict[str, Any]) -> None:
    reference = format_reference(amiss["repository"], amiss["tag"]) if amiss["repository"] else ""
    name = f"{amiss['kind']} {amiss['digest'] or ''}".rstrip() + (f" ({reference})" if reference else "")
    fate = f"fetched anew from {amiss['mended_from']}" if amiss["mended_from"] else amiss["reason"]
    needed = f" Needed by: {', '.join(amiss['images'])}." if amiss["images"] else ""
    complain(f"{name} was {amiss['problem']}: {fate}{needed if not amiss['mended_from'] else ''}")


def _gc(options: argparse.Namespace) -> int:
    grace = {} if options.grace is None else {"grace_seconds": options.grace}
    result = perform(options, "gc", untagged=options.untagged, dry_run=options.dry_run, **grace)
    if options.json:
        print_json(result)
        return 0
    what = ", ".join(plural(result[key], key.removesuffix("s")) for key in ("blobs", "manifests"))
    print(f"{'Would free' if options.dry_run else 'Freed'} {size(result['bytes'])}: {what}.")
    if result["uploads"]:
        print(f"Abandoned uploads {'to remove' if options.dry_run else 'removed'}: {result['uploads']}.")
    kept = result["kept_young"] + result["kept_promised"]
    if kept:
        print(f"{plural(kept, 'blob')} that nothing refers to yet may belong to a push under way, and stay.")
    for repository in result["not_looked_through"]:
        complain(f"The untagged manifests of {repository} stay: it changed all the time, or is damaged.")
    return 0


def _images(options: argparse.Namespace) -> int:
    images: list[Document] = []
    perform(options, "images", found=images.append, repository=_repository(options))
    if options.json:
        print_json({"images": images})
        return 0
    rows = [
        (
            image["repository"],
            image["tag"] or "-",
            image["digest"].partition(":")[2][:12],
            image["artifact_type"] or image["kind"],
            ", ".join(image["platforms"]),
            size(image["size"]),
            image["created"] or "",
            image["upstream"],
        )
        for image in images
    ]
    headings = ("REPOSITORY", "TAG", "DIGEST", "KIND", "PLATFORMS", "SIZE", "CREATED", "UPSTREAM")
    print_table(headings, rows, "Nothing is stored.")
    return 0


def _usage(options: argparse.Namespace) -> int:
    usage = perform(options, "usage", repository=_repository(options))
    if options.json:
        print_json(usage)
        return 0
    rows = [
        (each["name"], str(each["manifests"]), size(each["exclusive"]), size(each["shared"]))
        for each in usage["repositories"]
    ]
    print_table(("REPOSITORY", "MANIFESTS", "ITS OWN", "SHARED"), rows, "Nothing is stored.")
    print(
        f"in all        {size(usage['used'])}: {plural(usage['blobs'], 'blob')}, {plural(usage['manifests'], 'manifest')}"
    )
    if options.repository is None:
        for each in usage["upstreams"]:
            where = f"from or at {each['name']}" if each["name"] else "here alone"
            print(f"{where}: {size(each['bytes'])} in {plural(each['manifests'], 'manifest')}")
    print(f"unreferenced  {size(usage['unreferenced'])} in {plural(usage['unreferenced_blobs'], 'blob')}")
    if usage["quarantine"]:
        print(f"quarantine    {size(usage['quarantine'])}")
    return 0


def _repository(options: argparse.Namespace) -> str | None:
    """The argument, with an address of ours before it stripped."""
    if options.repository is None:
        return None
    try:
        named = ImageReference.parse(options.repository)
    except YarddeskError as error:
        complain(str(error))
        sys.exit(2)
    if named.reference is not None:
        complain(f"“{options.repository}” is one image. Name its repository: {named.repository}.")
        sys.exit(2)
    return str(named.repository)
