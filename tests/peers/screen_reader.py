"""What a screen reader knows of a program's windows, over AT-SPI 2: names, roles, text and places of all that is shown.

Qt speaks to the bus that AT_SPI_BUS_ADDRESS names, so a plain D-Bus daemon does; no accessibility service has to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection

from tests.peers.desktop import Desktop
from tests.support.waiting import until

_ROOT = "/org/a11y/atspi/accessible/root"
_ACCESSIBLE = "org.a11y.atspi.Accessible"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_SCREEN = 0
# Bits of AtspiStateType.
_ENABLED, _FOCUSED, _SHOWING = 8, 12, 25


class Gone(Exception):
    """The program answered that there is no such thing: it has left the screen meanwhile."""


@dataclass(frozen=True)
class Thing:
    """Something on the screen. role: in AT-SPI's words (`push button`, `label`, `text`); x to height: its place, in pixels."""

    path: str
    role: str
    name: str
    text: str
    enabled: bool
    focused: bool
    x: int
    y: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    @property
    def words(self) -> str:
        """What can be read there."""
        return self.text or self.name


class ScreenReader:
    """Reads the windows of the program with that number. To be used as `with ScreenReader(…)`.

    address: of the bus in `environment`. desktop: where the program's windows are.
    """

    def __init__(self, address: str, desktop: Desktop, pid: int) -> None:
        self._address = address
        self._desktop = desktop
        self._pid = pid
        self._bus: DBusConnection
        self._program = ""

    @staticmethod
    def environment(address: str) -> dict[str, str]:
        """What a Qt program gets into its environment to tell of its windows on that bus."""
        return {"AT_SPI_BUS_ADDRESS": address, "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1"}

    def __enter__(self) -> Self:
        self._bus = open_dbus_connection(self._address)
        self._program = until(self._find_program, 30, "the program is on the accessibility bus")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bus.close()

    def things(self, within: str = "") -> list[Thing]:
        """All that is to be seen now, from the first window's top; within: only what belongs to the panel of that name."""
        found = list(self._below(_ROOT))
        if not within:
            return found
        panel = next((thing for thing in found if (thing.role, thing.name) == ("panel", within)), None)
        return list(self._below(panel.path)) if panel else []

    def text(self, within: str = "") -> str:
        """All that can be read now."""
        return "\n".join(thing.words for thing in self.things(within) if thing.words)

    def find(self, role: str, name: str, *, within: str = "", deadline_seconds: float = 30.0) -> Thing:
        """The thing of that role whose name begins so, once it is shown and can be used."""

        def look() -> Thing | None:
            found = self.things(within)
            return next(
                (each for each in found if each.role == role and each.name.startswith(name) and each.enabled), None
            )

        thing = until(look, deadline_seconds, f"a {role} called {name!r}")
        assert thing is not None
        return thing

    def expect(self, words: str, *, within: str = "", deadline_seconds: float = 60.0) -> str:
        """The text in which these words are to be read, once they are there."""

        def look() -> str:
            return next((thing.words for thing in self.things(within) if words in thing.words), "")

        return until(look, deadline_seconds, f"the words {words!r}")

    def expect_gone(self, words: str, *, deadline_seconds: float = 60.0) -> None:
        """Back when these words can be read nowhere any more."""
        until(lambda: words not in self.text(), deadline_seconds, f"the words {words!r} to go")

    def click(self, role: str, name: str, *, within: str = "") -> None:
        """Move the mouse there and press its button, once it's there to be clicked and stands still in its window."""

        def at_rest() -> Thing | None:
            thing = self.find(role, name, within=within)
            frame = self._window_of(thing)
            if thing.y < frame.y or thing.y + thing.height > frame.y + frame.height:
                # The wheel, beside what stands there: a text with lines of its own would turn under it.
                self._desktop.click(thing.x - 16, frame.centre[1], button=4 if thing.y < frame.y else 5)
                return None
            return thing if thing == self.find(role, name, within=within) else None

        thing = until(at_rest, 30, f"the {role} {name!r} stands still")
        assert thing is not None
        self._desktop.click(*thing.centre)

    def _window_of(self, thing: Thing) -> Thing:
        windows = [each for each in self.things() if each.role in ("frame", "dialog")]
        return next(each for each in reversed(windows) if each.x <= thing.x < each.x + each.width)

    def _find_program(self) -> str:
        """One of its connections has the windows; others may serve the keychain."""
        proxy = Proxy(message_bus, self._bus)
        for name in proxy.ListNames()[0]:
            if not name.startswith(":") or self._number_of(proxy, name) != self._pid:
                continue
            try:
                if self._call(_ROOT, _ACCESSIBLE, "GetChildren", of=name)[0]:
                    return str(name)
            except Gone:
                continue
        return ""

    def _number_of(self, proxy: Proxy, name: str) -> int:
        reply = self._bus.send_and_get_reply(message_bus.GetConnectionUnixProcessID(name))
        return int(reply.body[0]) if reply.header.message_type is MessageType.method_return else 0

    def _below(self, path: str) -> Iterator[Thing]:
        try:
            children = [child for _, child in self._call(path, _ACCESSIBLE, "GetChildren")[0]]
        except Gone:
            return
        for child in children:
            try:
                thing = self._thing(child)
            except Gone:
                continue
            if thing is not None:
                yield thing
                yield from self._below(child)

    def _thing(self, path: str) -> Thing | None:
        """None for what is not shown."""
        (low, high) = self._call(path, _ACCESSIBLE, "GetState")[0]
        states = low | high << 32

        def has(bit: int) -> bool:
            return bool(states >> bit & 1)

        role = str(self._call(path, _ACCESSIBLE, "GetRoleName")[0])
        if not has(_SHOWING):
            return None
        name = self._property(path, _ACCESSIBLE, "Name")
        place = self._call(path, "org.a11y.atspi.Component", "GetExtents", "u", _SCREEN)[0]
        return Thing(path, role, name, self._text(path), has(_ENABLED), has(_FOCUSED), *place)

    def _text(self, path: str) -> str:
        try:
            return str(self._call(path, "org.a11y.atspi.Text", "GetText", "ii", 0, -1)[0])
        except Gone:
            return ""  # it is none of those that hold text

    def _property(self, path: str, interface: str, name: str) -> str:
        return str(self._call(path, _PROPERTIES, "Get", "ss", interface, name)[0][1])

    def _call(
        self, path: str, interface: str, method: str, signature: str = "", *arguments: object, of: str = ""
    ) -> tuple[Any, ...]:
        where = DBusAddress(path, bus_name=of or self._program, interface=interface)
        call = new_method_call(where, method, signature or None, arguments)
        reply = self._bus.send_and_get_reply(call, timeout=30)
        if reply.header.message_type is MessageType.error:
            raise Gone(f"{method} of {path}: {reply.body}")
        return tuple(reply.body)
