"""A real containerd, apart from any that runs on this machine, and its command line `ctr`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.programs import CommandLine, Program, clean_environment

# What would look for CNI, for folders in /opt or for kernel modules, or takes long to say that it can't.
_NOT_WANTED = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)


class Containerd:
    """containerd with its own folders and socket; needs root.

    folder: a short path, since a socket's name holds 107 bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "c.sock"
        environment = clean_environment(folder / "home")
        config = folder / "config.toml"
        # TOML's strings and lists, as far as they come here, are JSON's.
        config.write_text(
            f"version = 2\n"
            f"root = {json.dumps(str(folder / 'content'))}\n"
            f"state = {json.dumps(str(folder / 'state'))}\n"
            f"disabled_plugins = {json.dumps(_NOT_WANTED)}\n"
            f"[grpc]\naddress = {json.dumps(str(self.socket))}\n"
            f"[ttrpc]\naddress = {json.dumps(str(folder / 't.sock'))}\n",
            encoding="utf-8",
        )
        self._program = Program(
            ["containerd", f"--config={config}"], environment=environment, log=folder / "containerd.log"
        )
        self.ctr = Ctr(self.socket, folder / "home")

    def start(self) -> None:
        self._program.start()
        self._program.wait_for_line(r"containerd successfully booted", deadline_seconds=60)

    def stop(self) -> None:
        self._program.stop(deadline_seconds=30)

    def content(self, digest: str) -> bytes | None:
        """What containerd's store has under a digest, or None."""
        algorithm, _, hexadecimal = digest.partition(":")
        path = self.folder / "content" / "io.containerd.content.v1.content" / "blobs" / algorithm / hexadecimal
        return path.read_bytes() if path.exists() else None


class Ctr(CommandLine):
    """`ctr` on one containerd. Snapshots are plain copies, which work wherever the tests run."""

    def __init__(self, socket: Path, home: Path) -> None:
        environment = clean_environment(home, {"CONTAINERD_SNAPSHOTTER": "native"})
        super().__init__(["ctr", f"--address={socket}", "--namespace=tests"], environment=environment)

    def pull(self, name: str, *options: str) -> None:
        """name: HOST/NAME:TAG, always with its host; options: `--plain-http`, `--all-platforms`, `--hosts-dir=FOLDER`."""
        self.run("images", "pull", *options, name)

    def push(self, name: str, *options: str) -> None:
        self.run("images", "push", *options, name)

    def remove(self, name: str) -> None:
        """Forget an image, and collect its content before this returns."""
        self.run("images", "remove", "--sync", name)

    def images(self) -> list[str]:
        return self.run("images", "list", "--quiet").stdout.split()
