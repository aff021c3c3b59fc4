"""Installs Debian packages where we may, and says what to install where we may not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from needs import SERVICES

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Here while yarddesk installs packages: starts no service.\nexit 101\n"


class SetUpError(Exception):
    """The set-up cannot go on; the message tells a person what to do."""


def say(text: str) -> None:
    """One line of what the set-up is doing, on standard error, so that standard output is the program's alone."""
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def as_root() -> list[str] | None:
    """What to put before a command so that it runs as root without asking: nothing, sudo, or None where we may not."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def find_command(name: str) -> str | None:
    """The path of a command; daemons lie in folders that are not on everybody's PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/local/sbin", "/usr/sbin", "/sbin"]))


def install(packages: Iterable[str], reasons: Iterable[str]) -> None:
    """Install Debian packages by apt-get.

    packages: their names. reasons: what is missing without them, for people.
    Raises SetUpError, naming both, where there is no apt-get, where we may not use it, and where it fails.
    """
    wanted = sorted(set(packages))
    advice = f"missing: {', '.join(sorted(reasons))}\n  To install it: apt-get install {' '.join(wanted)}"
    if not shutil.which("apt-get"):
        raise SetUpError(f"{advice}\n  (Debian's package names; here there is no apt-get.)")
    root = as_root()
    if root is None:
        raise SetUpError(f"{advice}\n  (As root; there is no sudo that works without a password.)")
    say(f"installing {' '.join(wanted)}")
    new = [package for package in wanted if not is_installed(package)]
    try:
        # Someone's broken third-party source is no reason to stop: what we need comes from Debian's.
        if apt_get(root, "update") != 0:
            say("apt-get update failed; going on with the package lists that are here")
        with services_held_back(root):
            status = apt_get(root, "install", "--yes", "--no-install-recommends", *wanted)
    except subprocess.CalledProcessError as error:
        raise SetUpError(f"{error}\n  {advice}") from error
    if status != 0:
        raise SetUpError(f"apt-get ended with status {status}.\n  {advice}")
    leave_services_off(root, new)


def apt_get(root: list[str], *arguments: str) -> int:
    """Run apt-get, asking nobody anything; gives its exit status."""
    options = ["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    # What apt-get prints goes to standard error: standard output belongs to the program that is set up.
    command = [*root, *environment, "apt-get", *options, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode


def is_installed(package: str) -> bool:
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package], capture_output=True, text=True
    )
    return query.stdout == "installed"


@contextmanager
def services_held_back(root: list[str]) -> Iterator[None]:
    """While this lasts Debian's packages start no service, by the policy file that Debian provides for that.

    A policy that is there already is the administrator's, and stays in force.
    """
    if POLICY.exists():
        yield
        return
    subprocess.run([*root, "tee", str(POLICY)], input=POLICY_TEXT, text=True, check=True, stdout=subprocess.DEVNULL)
    try:
        subprocess.run([*root, "chmod", "755", str(POLICY)], check=True)
        yield
    finally:
        subprocess.run([*root, "rm", "-f", str(POLICY)], check=True)


def leave_services_off(root: list[str], new: Iterable[str]) -> None:
    """Stop and disable the services of packages that were not here before: nobody asked for a daemon at every boot."""
    systemctl = shutil.which("systemctl")
    units = [unit for package in new for unit in SERVICES.get(package, ())]
    if not systemctl or not units:
        return
    now = ["--now"] if Path("/run/systemd/system").exists() else []
    for unit in units:  # one at a time: a unit that this release does not have must not keep the others on
        command = [*root, systemctl, "disable", *now, unit]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            say(f"could not turn off {unit}: {result.stderr.strip()}")
