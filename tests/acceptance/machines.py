"""A machine for set-ups: what `yarddesk setup` and the window find on it, and change there, belongs to the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.peers.dockerd import Dockerd
from tests.support.engine_files import DROP_IN, REGISTRIES_CONF
from tests.support.images import build_image, write_docker_archive, write_oci_layout
from tests.support.programs import CommandLine, clean_environment

# In a mount namespace of its own, so that the machine's own /etc/containers is neither read nor written.
_INSIDE = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/containers && exec "$@"')


def registries_of(daemon: Dockerd) -> dict[str, Any]:
    """What the engine itself says: the registries that it takes as insecure, and its mirrors."""
    client = daemon.client(daemon.folder / "client")
    found = json.loads(client.run("info", "--format", "{{json .RegistryConfig}}").stdout)
    insecure = sorted(name for name, index in found["IndexConfigs"].items() if not index["Secure"])
    return {"insecure": insecure, "networks": found["InsecureRegistryCIDRs"], "mirrors": found["Mirrors"]}


class PodmanMachine:
    """podman, buildah and skopeo with a store, a home and an /etc/containers of their own; needs root.

    folder: a short path; podman takes no run folder of more than 50 characters.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.etc = folder / "etc"
        self.home.mkdir(parents=True)
        shutil.copytree("/etc/containers", self.etc)
        storage, engine = folder / "storage.conf", folder / "containers.conf"
        storage.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "store"}"\nrunroot = "{folder / "run"}"\n',
            encoding="utf-8",
        )
        engine.write_text(
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "{folder / "libpod"}"\n',
            encoding="utf-8",
        )
        (folder / "tmp").mkdir()
        self.variables = {
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_CONF": str(engine),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(folder / "tmp"),
        }

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command on this machine."""
        return [*_INSIDE, str(self.etc), *command]

    def run(self, *command: str, status: int | None = 0) -> str:
        """Run a program of this machine; gives what it printed."""
        environment = clean_environment(self.home, self.variables)
        done = CommandLine(self.inside(*command), environment=environment).run(status=status)
        return done.stdout + done.stderr

    def add_other_settings(self) -> None:
        """As on a machine that somebody configured before."""
        (self.etc / "registries.conf").write_text(REGISTRIES_CONF, encoding="utf-8")
        (self.etc / "registries.conf.d" / "20-other.conf").write_text(DROP_IN, encoding="utf-8")

    def configuration(self) -> dict[str, bytes | None]:
        """Every file and folder of /etc/containers, to the byte."""
        return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(self.etc.rglob("*"))}

    def images(self) -> Sequence[str]:
        """The names that podman and buildah have images under."""
        return self.run("podman", "images", "--all", "--format", "{{.Repository}}").split()

    def push_and_pull_with_each(self, address: str, folder: Path) -> None:
        """podman, buildah and skopeo push and pull by the configuration alone, with no option that allows plain HTTP."""
        name = f"{address}/team/podman:1"
        archive = write_docker_archive(folder / "podman.tar", build_image("podman"), name)
        self.run("podman", "load", "--input", str(archive))
        for program, pushed in (("podman", name), ("buildah", f"{address}/team/buildah:1")):
            self.run(program, "tag", name, pushed)
            self.run(program, "push", pushed)
            self.run(program, "rmi", pushed)
            self.run(program, "pull", pushed)
        layout = write_oci_layout(folder / "skopeo", build_image("skopeo"))
        self.run("skopeo", "copy", layout, f"docker://{address}/team/skopeo:1")
        self.run("skopeo", "copy", f"docker://{address}/team/skopeo:1", f"dir:{folder / 'pulled'}")
