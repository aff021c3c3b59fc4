"""`yarddesk login` and `logout`: credentials into, and out of, the OS keychain. Need no running instance."""

import argparse
import asyncio
import getpass
import sys
from typing import Any

from yarddesk.cli.options import settings_of
from yarddesk.cli.output import complain
from yarddesk.content.credentials import Credential, Secret
from yarddesk.content.registry_host import registry_key
from yarddesk.control.client import ControlClient, ControlError
from yarddesk.control.instance import NoInstance
from yarddesk.errors import YarddeskError
from yarddesk.service.front import SignInResult
from yarddesk.settings.model import Settings, UpstreamSettings
from yarddesk.settings.upstreams import upstream_from_url


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's type is private
    text = "put a registry's user and password into the keychain"
    login = commands.add_parser("login", parents=[common], help=text, description=text)
    login.add_argument("registry", metavar="REGISTRY", help="a host, or an upstream's name (which wins)")
    login.add_argument("-u", "--username", help="asked for where it's not given")
    login.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    login.set_defaults(run=_login)
    text = "take a registry's user and password out of the keychain"
    logout = commands.add_parser("logout", parents=[common], help=text, description=text)
    logout.add_argument("registry", metavar="REGISTRY", help="a host, or an upstream's name (which wins)")
    logout.set_defaults(run=_logout)


def _login(options: argparse.Namespace) -> int:
    # Keychains, and what speaks to registries, are loaded for the two commands that need them.
    from yarddesk.service.accounts import upstreams_at

    settings = settings_of(options)
    upstream = _upstream(settings, options.registry)
    credential = _ask(options, upstream.registry)
    if credential is None:
        return 2
    result = asyncio.run(_sign_in(upstream, credential))
    if not result.checked:
        complain(f"{upstream.registry} could not be asked whether it takes them: {result.reason}")
    print(f"The credentials for {registry_key(upstream.registry)} are in the keychain.")
    for each in upstreams_at(settings.upstreams, upstream.registry):
        if each.auth.is_configured:
            complain(f"{each.name} does not use them: its auth.type in the settings is {each.auth.type}.")
    _tell_instance(settings, upstream.registry, retry=True)
    return 0


def _logout(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    upstream = _upstream(settings, options.registry)
    if asyncio.run(_sign_out(upstream)):
        _tell_instance(settings, upstream.registry, retry=False)
        print(f"The credentials for {registry_key(upstream.registry)} are out of the keychain.")
        return 0
    complain(f"The keychain holds no credentials for {registry_key(upstream.registry)}.")
    return 1


async def _sign_in(upstream: UpstreamSettings, credential: Credential) -> SignInResult:
    from yarddesk.service.accounts import Accounts

    async with Accounts() as accounts:
        return await accounts.sign_in(upstream, credential)


async def _sign_out(upstream: UpstreamSettings) -> bool:
    from yarddesk.service.accounts import Accounts

    async with Accounts() as accounts:
        return await accounts.sign_out(upstream)


def _upstream(settings: Settings, named: str) -> UpstreamSettings:
    """The upstream of that name, else one of that registry, else the registry by itself. Raises YarddeskError."""
    for upstream in settings.upstreams:
        if upstream.name == named:
            return upstream
    for upstream in settings.upstreams:
        if registry_key(upstream.registry) == registry_key(named):
            return upstream
    try:
        return upstream_from_url(named)
    except ValueError as error:
        raise YarddeskError(f"“{named[:80]}” is neither an upstream's name nor a registry: {error}.") from error


def _ask(options: argparse.Namespace, registry: str) -> Credential | None:
    """None, and a complaint, where there is nobody to ask."""
    by_hand = sys.stdin.isatty()
    username = options.username
    if not username:
        if options.password_stdin or not by_hand:
            complain("Give the user with --username, and the password with --password-stdin.")
            return None
        username = input(f"User at {registry}: ").strip()
    if options.password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif by_hand:
        password = getpass.getpass(f"Password of {username} at {registry}: ")
    else:
        complain("There is no terminal to ask for the password at; give it with --password-stdin.")
        return None
    if not username or not password:
        complain("User and password must not be empty.")
        return None
    return Credential(username, Secret(password))


def _tell_instance(settings: Settings, registry: str, *, retry: bool) -> None:
    """A running instance forgets what it had earned with other credentials; `retry`: what waits for these goes on."""
    try:
        with ControlClient(settings.data_dir, settings.server.certfile) as client:
            client.post("account-changed", registry=registry, retry=retry)
    except NoInstance:
        return  # none runs: nothing waits
    except ControlError as error:
        complain(f"A running yarddesk could not be told: {error}")
