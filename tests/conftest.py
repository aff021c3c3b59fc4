"""What all tests share: the real peers, and a home of their own."""

from __future__ import annotations

import os

# Before Qt is imported by anything: windows of tests in this process are drawn to memory, on no one's screen.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

pytest_plugins = ["tests.peers.fixtures"]
