"""podman, buildah and skopeo, each with a home, a configuration and a store of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.images import Image, write_docker_archive
from tests.support.programs import CommandLine, clean_environment


def config_folder(home: Path) -> Path:
    """Where these three look for a user's registries.conf and registries.conf.d."""
    return home / ".config" / "containers"


def _environment(home: Path) -> dict[str, str]:
    # Their stores are at home in /var/tmp otherwise, and their locks are shared by the whole machine.
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return clean_environment(home, {"TMPDIR": str(temporary), "BUILDAH_ISOLATION": "chroot"})


def _store(home: Path) -> list[str]:
    return [f"--root={home / 'store'}", f"--runroot={home / 'run' / 'store'}", "--storage-driver=vfs"]


class Podman(CommandLine):
    """podman; needs root, since its store is made for it.

    home: a folder with a short name; podman takes no run folder of more than 50 characters.
    """

    def __init__(self, home: Path) -> None:
        options = [
            *_store(home),
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
            f"--tmpdir={home / 'run/libpod'}",
        ]
        super().__init__(["podman", *options], environment=_environment(home))
        self.home = home

    def load(self, image: Image, name: str) -> None:
        """Put an image into podman's store under a name."""
        archive = write_docker_archive(self.home / "image.tar", image, name)
        self.run("load", "--input", str(archive))
        archive.unlink()

    def push(self, name: str, *, tls_verify: bool = False) -> None:
        """tls_verify False: plain HTTP is allowed by the call itself; True: by the configuration, or not at all."""
        self.run("push", *_tls(tls_verify), name)

    def pull(self, name: str, *, tls_verify: bool = False) -> None:
        self.run("pull", *_tls(tls_verify), name)


class Buildah(CommandLine):
    """buildah; needs root, since its store is made for it."""

    def __init__(self, home: Path) -> None:
        super().__init__(["buildah", *_store(home)], environment=_environment(home))
        self.home = home

    def build(self, name: str, files: dict[str, str]) -> None:
        """Build an image from scratch: a layer for each file; files: path in the image → text."""
        context = self.home / "context"
        context.mkdir(exist_ok=True)
        lines = ["FROM scratch"]
        for number, (path, text) in enumerate(files.items()):
            (context / str(number)).write_text(text, encoding="utf-8")
            lines.append(f"COPY {number} {path}")
        (context / "Containerfile").write_text("\n".join(lines), encoding="utf-8")
        self.run("build", "--layers", "--tag", name, "--file", str(context / "Containerfile"), str(context))

    def push(self, name: str, *, tls_verify: bool = False) -> None:
        self.run("push", *_tls(tls_verify), name)

    def pull(self, name: str, *, tls_verify: bool = False) -> None:
        self.run("pull", *_tls(tls_verify), name)


class Skopeo(CommandLine):
    """skopeo; has no store."""

    def __init__(self, home: Path) -> None:
        super().__init__(["skopeo"], environment=_environment(home))
        self.home = home

    def copy(self, source: str, destination: str, *options: str) -> None:
        """Copy between any two places (`oci:FOLDER:TAG`, `docker://HOST/NAME:TAG`), over plain HTTP too."""
        self.run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, destination)

    def raw_manifest(self, name: str) -> bytes:
        """The manifest's bytes; name: HOST/NAME:TAG."""
        return self.run("inspect", "--raw", "--tls-verify=false", f"docker://{name}").stdout.encode()

    def tags(self, repository: str) -> list[str]:
        listing = self.run("list-tags", "--tls-verify=false", f"docker://{repository}").stdout
        return list(json.loads(listing)["Tags"])


def _tls(verify: bool) -> list[str]:
    return [] if verify else ["--tls-verify=false"]
