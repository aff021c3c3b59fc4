"""A real keychain: gnome-keyring on a D-Bus session bus of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.support.programs import Program, clean_environment
from tests.support.waiting import until

PASSWORD = "the keychain's own password"
NAME = "org.freedesktop.secrets"

# A bus that starts no service by itself, so that a keychain that should be absent is.
BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <keep_umask/>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


@dataclass
class SecretService:
    """state: `unlocked`, `locked` (there is a keychain, and nobody types its password) or `absent` (a bus without one).

    folder: a short path, since a socket's name holds 107 bytes.
    """

    folder: Path
    state: Literal["unlocked", "locked", "absent"] = "unlocked"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        socket = self.folder / "bus"
        self.address = f"unix:path={socket}"
        self._environment = clean_environment(self.folder / "home", self.environment)
        config = self.folder / "bus.conf"
        config.write_text(BUS.format(socket=socket), encoding="utf-8")
        self._bus = Program(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
            environment=self._environment,
            log=self.folder / "bus.log",
        )
        self._keyring = self._daemon()

    @property
    def environment(self) -> dict[str, str]:
        """What a program that is to use this keychain gets into its environment."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.address}

    def start(self) -> None:
        self._bus.start()
        self._bus.wait_for_line(r"^unix:")
        if self.state == "absent":
            return
        # The first start makes the keychain with its password; a second one without it finds it locked.
        self._start_keyring(unlock=True)
        if self.state == "locked":
            self._stop_keyring()
            self._start_keyring(unlock=False)

    def stop(self) -> None:
        self._keyring.kill()
        self._bus.kill()

    def lock(self) -> None:
        """Lock the keychain while it is in use, as a screen lock does."""
        self._call("/org/freedesktop/secrets", "org.freedesktop.Secret.Service", "Lock", "ao", [[self._collection()]])

    def unlock(self) -> None:
        """As when somebody types the keychain's password."""
        self._stop_keyring()
        self._start_keyring(unlock=True)

    def is_locked(self) -> bool:
        properties = "org.freedesktop.DBus.Properties"
        arguments = ("org.freedesktop.Secret.Collection", "Locked")
        (answer,) = self._call(self._collection(), properties, "Get", "ss", list(arguments))
        return bool(answer[1])

    def _daemon(self, *options: str) -> Program:
        return Program(
            ["gnome-keyring-daemon", "--foreground", "--components=secrets", *options],
            environment=self._environment,
            log=self.folder / "keyring.log",
        )

    def _start_keyring(self, *, unlock: bool) -> None:
        self._keyring = self._daemon(*(["--unlock"] if unlock else []))
        self._keyring.start(input_text=PASSWORD if unlock else None)
        until(self._has_keyring, what=f"{NAME} is on the bus")
        if unlock:
            until(lambda: self._collection() != "/", what="the keychain is made")

    def _stop_keyring(self) -> None:
        self._keyring.kill()
        until(lambda: not self._has_keyring(), what=f"{NAME} has left the bus")

    def _has_keyring(self) -> bool:
        with open_dbus_connection(self.address) as connection:
            (answer,) = Proxy(message_bus, connection).NameHasOwner(NAME)
            return bool(answer)

    def _collection(self) -> str:
        (path,) = self._call(
            "/org/freedesktop/secrets", "org.freedesktop.Secret.Service", "ReadAlias", "s", ["default"]
        )
        return str(path)

    def _call(self, path: str, interface: str, method: str, signature: str, arguments: list[object]) -> tuple[Any, ...]:
        with open_dbus_connection(self.address) as connection:
            where = DBusAddress(path, bus_name=NAME, interface=interface)
            reply = connection.send_and_get_reply(new_method_call(where, method, signature, tuple(arguments)))
        assert reply.header.message_type is not MessageType.error, f"{method}: {reply.body}"
        return tuple(reply.body)
