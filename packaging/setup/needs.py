"""What yarddesk and its tests need from the operating system, and the Debian package that has it.

Plain tables, so that a person on another system can read off what to install there.
"""

from __future__ import annotations

# Shared libraries that Qt's wheels leave to the system, by soname. Which ones are missing is asked of the dynamic
# linker; this only says where they come from.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libGLX.so.0": "libglx0",
    "libOpenGL.so.0": "libopengl0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libbrotlidec.so.1": "libbrotli1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libwayland-egl.so.1": "libwayland-egl1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libzstd.so.1": "libzstd1",
}

FONT_PACKAGE = "fonts-dejavu-core"

# Programs that the tests run, by command.
TEST_TOOLS = {
    "Xvfb": "xvfb",
    "appstreamcli": "appstream",
    "buildah": "buildah",
    "chromium-headless-shell": "chromium-headless-shell",
    "containerd": "containerd",
    "dbus-daemon": "dbus-daemon",
    "desktop-file-validate": "desktop-file-utils",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "gnome-keyring-daemon": "gnome-keyring",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "openbox": "openbox",
    "podman": "podman",
    "ps": "procps",
    "runc": "runc",
    "skopeo": "skopeo",
    "strace": "strace",
    "trayer": "trayer",
    "umoci": "umoci",
    "xdotool": "xdotool",
    "xkbcomp": "x11-xkb-utils",
    "xprop": "x11-utils",
    "xwininfo": "x11-utils",
}

# Of these, the ones that Debian starts as soon as they are installed, and at every boot. The tests run them by
# themselves, so a service that came in with the tests is left off.
SERVICES = {
    "containerd": ("containerd.service",),
    "docker-registry": ("docker-registry.service",),
    "docker.io": ("docker.service", "docker.socket"),
    "podman": (
        "podman.service",
        "podman.socket",
        "podman-restart.service",
        "podman-auto-update.service",
        "podman-auto-update.timer",
    ),
}
