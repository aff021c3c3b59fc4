"""A desktop to be seen on: an X server without a screen, a window manager and a tray."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.pictures import Picture, picture_of_xwd, write_png
from tests.support.programs import CommandLine, Program, clean_environment
from tests.support.waiting import until
from tests.support.x11 import ask_to_close, owns_selection


@dataclass(frozen=True)
class Window:
    """A window on the desktop: its id, and where it lies on the screen, in pixels."""

    id: str
    x: int
    y: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2


class Desktop:
    """Xvfb on a free display, with openbox and trayer (an XEmbed tray).

    size: width and height in pixels. tray: without it the desktop is one that has no tray.
    """

    def __init__(self, folder: Path, *, size: tuple[int, int] = (1280, 900), tray: bool = True) -> None:
        self.folder = folder
        self.size = size
        self.tray = tray
        self.display = ""
        self._programs: list[Program] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a program that is to appear on this desktop gets into its environment."""
        return {"DISPLAY": self.display, "QT_QPA_PLATFORM": "xcb", "XDG_SESSION_TYPE": "x11"}

    def start(self) -> None:
        self._start_server()
        # Openbox announces itself to programs before it can manage windows; a window that comes too early is left alone.
        manager = self._start("openbox", "--sm-disable", "--startup", "echo windows are managed")
        manager.wait_for_line("^windows are managed$")
        if self.tray:
            options = "--edge bottom --align right --widthtype request --height 28 --SetDockType true --expand true"
            self._start("trayer", *options.split(), "--monitor", "0")
            until(lambda: owns_selection(self.display, "_NET_SYSTEM_TRAY_S0"), what="the tray is there")

    def stop(self) -> None:
        for program in reversed(self._programs):
            program.kill()
        self._programs.clear()

    def _start_server(self) -> None:
        """The server chooses a display that is free and says which."""
        width, height = self.size
        frames = self.folder / "frames"
        frames.mkdir(parents=True, exist_ok=True)
        screen = f"{width}x{height}x24"
        options = ["-displayfd", "1", "-screen", "0", screen, "-nolisten", "tcp", "-noreset", "-fbdir", str(frames)]
        server = Program(
            ["Xvfb", *options], environment=clean_environment(self.folder / "home"), log=self.folder / "Xvfb.log"
        )
        self._programs.append(server)
        server.start()
        self.display = ":" + server.wait_for_line(r"^(\d+)$")[1]

    def _start(self, *command: str) -> Program:
        environment = clean_environment(self.folder / "home", self.environment)
        program = Program(command, environment=environment, log=self.folder / f"{command[0]}.log")
        self._programs.append(program)
        program.start()
        return program

    def screenshot(self, path: Path) -> Path:
        """Write what the screen shows to a PNG file, and give its path."""
        write_png(path, self.picture())
        return path

    def picture(self) -> Picture:
        """What the screen shows."""
        return picture_of_xwd((self.folder / "frames" / "Xvfb_screen0").read_bytes())

    def windows(self, *search: str) -> list[str]:
        """The ids of the visible windows that xdotool's search finds (`--name PATTERN`, `--class PATTERN`, …)."""
        return self._xdotool("search", "--onlyvisible", *search, status=None).split()

    def wait_for_window(self, *search: str, deadline_seconds: float = 30.0) -> Window:
        """The first window that the search finds, once there is one."""
        found = until(lambda: self.windows(*search), deadline_seconds, f"a window for {' '.join(search)}")
        return self.window(found[0])

    def window(self, window_id: str) -> Window:
        shell = self._xdotool("getwindowgeometry", "--shell", window_id)
        place = {name: int(value) for name, value in re.findall(r"^(\w+)=(-?\d+)$", shell, re.MULTILINE)}
        return Window(window_id, place["X"], place["Y"], place["WIDTH"], place["HEIGHT"])

    def active_window(self) -> str:
        """The id of the window that has the focus; empty without one."""
        return self._xdotool("getactivewindow", status=None).strip()

    def activate(self, window_id: str) -> None:
        self._xdotool("windowactivate", "--sync", window_id)

    def close(self, window_id: str) -> None:
        """Have the window manager ask a window to close; its key for that is not yet its own when it has just started."""
        ask_to_close(self.display, int(window_id, 0))

    def click(self, x: int, y: int, *, button: int = 1) -> None:
        """Click at a place on the screen, in pixels; button: 1 left, 2 middle, 3 right."""
        self._xdotool("mousemove", "--sync", str(x), str(y), "click", str(button))

    def key(self, keys: str) -> None:
        """Press keys in the focused window, in xdotool's words (`Return`, `ctrl+q`)."""
        self._xdotool("key", "--clearmodifiers", keys)

    def type(self, text: str) -> None:
        # By standard input: what is typed may be a password, which has no business in the list of processes.
        self._run("xdotool", "type", "--delay", "1", "--file", "-", input_text=text)

    def tray_icons(self) -> list[Window]:
        """The icons in the tray, left to right."""
        trays = self._xdotool("search", "--class", "trayer", status=None).split()
        tree = [
            line for tray in trays for line in self._run("xwininfo", "-tree", "-id", tray, status=None).splitlines()
        ]
        entries = (
            re.match(r"\s+(0x[0-9a-f]+) .* (\d+)x(\d+)\+-?\d+\+-?\d+\s+\+(-?\d+)\+(-?\d+)$", line) for line in tree
        )
        # The tray's own boxes are wider than an icon; the icons are the innermost windows of an icon's size.
        icons = {
            (int(e[4]), int(e[5])): Window(e[1], int(e[4]), int(e[5]), int(e[2]), int(e[3]))
            for e in entries
            if e and 8 < int(e[2]) <= 32 and 8 < int(e[3]) <= 32
        }
        return [icons[place] for place in sorted(icons)]

    def _xdotool(self, *arguments: str, status: int | None = 0) -> str:
        return self._run("xdotool", *arguments, status=status)

    def _run(self, program: str, *arguments: str, status: int | None = 0, input_text: str | None = None) -> str:
        environment = clean_environment(self.folder / "home", {"DISPLAY": self.display})
        return (
            CommandLine([program], environment=environment).run(*arguments, status=status, input_text=input_text).stdout
        )


KDE_DARK = """\
[General]
ColorScheme=BreezeDark
[Colors:Window]
BackgroundNormal=42,46,50
ForegroundNormal=252,252,252
[Colors:View]
BackgroundNormal=27,30,32
BackgroundAlternate=35,38,41
ForegroundNormal=252,252,252
[Colors:Button]
BackgroundNormal=49,54,59
ForegroundNormal=252,252,252
[Colors:Selection]
BackgroundNormal=61,174,233
ForegroundNormal=252,252,252
[Colors:Tooltip]
BackgroundNormal=49,54,59
ForegroundNormal=252,252,252
"""


def dark_theme(config_folder: Path) -> dict[str, str]:
    """Make a dark desktop of it: Qt reads KDE's colours from a program's config folder when told that this is KDE.

    config_folder: XDG_CONFIG_HOME of the program. Gives what belongs into its environment.
    """
    config_folder.mkdir(parents=True, exist_ok=True)
    (config_folder / "kdeglobals").write_text(KDE_DARK, encoding="ascii")
    return {"XDG_CURRENT_DESKTOP": "KDE", "KDE_SESSION_VERSION": "6", "KDE_FULL_SESSION": "true"}
