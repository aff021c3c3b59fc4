"""`yarddesk upstream`: the upstreams of the settings file."""

import argparse
import os
import sys
from typing import Any

from yarddesk.cli.options import config_file_of, settings_of
from yarddesk.cli.output import print_json, print_table
from yarddesk.settings.edit import add_upstream, remove_upstream
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import UPSTREAM_VARIABLE
from yarddesk.settings.model import UpstreamSettings
from yarddesk.settings.upstreams import EntryError, upstream_from_url


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "the registries behind this one"
    upstream = commands.add_parser("upstream", parents=[common], help=text, description=text)
    actions = upstream.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="which there are")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_list)
    add = actions.add_parser("add", parents=[common], help="one more, written to the settings file")
    add.add_argument("url", metavar="URL", help="[http[s]://]HOST[:PORT][/PATH]")
    add.add_argument("--prefix", default="", help="the repositories that belong to it; without it all others")
    add.add_argument("--path", default="", help="put before the repository's name there")
    add.add_argument("--push", action=argparse.BooleanOptionalAction, default=False, help="sync pushes to it")
    add.add_argument(
        "--pull", action=argparse.BooleanOptionalAction, default=True, help="fetch what is not here from it"
    )
    add.set_defaults(run=_add)
    remove = actions.add_parser("remove", parents=[common], help="one less; what is queued for it stays in the queue")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)


def _list(options: argparse.Namespace) -> int:
    upstreams = settings_of(options).upstreams
    if options.json:
        print_json({"upstreams": [_document(upstream) for upstream in upstreams]})
        return 0
    rows = [
        (
            upstream.name,
            f"{upstream.prefix}/…" if upstream.prefix else "(all others)",
            "/".join(part for part in (upstream.registry, upstream.path) if part),
            "yes" if upstream.push else "no",
            "yes" if upstream.pull else "no",
            str(upstream.auth.type),
        )
        for upstream in upstreams
    ]
    print_table(
        ("NAME", "REPOSITORIES", "REGISTRY", "PUSH", "PULL", "AUTH"), rows, "There are no upstreams: all stays local."
    )
    return 0


def _document(upstream: UpstreamSettings) -> dict[str, Any]:
    return {
        "name": upstream.name,
        "prefix": upstream.prefix,
        "registry": upstream.registry,
        "path": upstream.path,
        "push": upstream.push,
        "pull": upstream.pull,
        "auth": str(upstream.auth.type),
    }


def _add(options: argparse.Namespace) -> int:
    path = config_file_of(options)
    try:
        url = options.url.rstrip("/") + (f"/{options.path.strip('/')}" if options.path.strip("/") else "")
        upstream = upstream_from_url(url, prefix=options.prefix, push=options.push, pull=options.pull)
    except EntryError as error:
        raise SettingsError("upstream add", error.key, str(error)) from error
    except ValueError as error:
        raise SettingsError("upstream add", "", str(error)) from error
    added = add_upstream(path, upstream, os.environ)
    print(f"{added.name} is in {path} now. A running yarddesk takes it up by itself.")
    if added.route not in [each.route for each in settings_of(options).upstreams]:
        print(f"yarddesk: {added.name} counts for nothing while {UPSTREAM_VARIABLE} is set.", file=sys.stderr)
    return 0


def _remove(options: argparse.Namespace) -> int:
    path = config_file_of(options)
    remove_upstream(path, options.name, os.environ)
    print(f"{options.name} is out of {path} now.")
    return 0
