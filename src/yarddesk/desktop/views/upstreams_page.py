"""The upstreams: a card for each, with its route in words, how it is, and what can be done about it."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from yarddesk.content.pull_through import PullHealth
from yarddesk.desktop import words
from yarddesk.desktop.actions import Actions
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.views.cards_page import CardsPage
from yarddesk.desktop.views.parts import Button, ElidedLabel, GlyphLabel, give_role, label, paragraph
from yarddesk.settings.model import UpstreamSettings
from yarddesk.sync.snapshot import SyncSnapshot, UpstreamHealth

# The glyph, the token's colour and the words of each state of an upstream.
_STATES: dict[str, tuple[str, str, str]] = {
    "ok": ("check", "good", "Answers"),
    "away": ("offline", "waiting", "Out of reach"),
    "trouble": ("warning", "waiting", "In trouble"),
    "needs_you": ("warning", "needs_you", "Needs you"),
    "unknown": ("clock", "secondary", "Not asked yet"),
}


class UpstreamsPage(CardsPage):
    """What is asked for goes out as signals that carry an upstream's name."""

    sign_in_wanted = Signal(str, str)
    sign_out_wanted = Signal(str)
    remove_wanted = Signal(str)

    def __init__(self, bridge: Bridge, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._actions = actions
        self.cards: dict[str, UpstreamCard] = {}
        self.add_button = Button("Add upstream…")
        self.add_button.clicked.connect(actions.add_upstream.trigger)
        self._none = paragraph("There are no upstreams: everything stays here.")
        self._lay_out("Upstreams", "where pulls come from and pushes go", self.add_button, below=[self._none])
        bridge.upstreams_changed.connect(self._fill)
        bridge.snapshot_changed.connect(self._on_snapshot)
        self._fill()

    def _fill(self) -> None:
        """Keep the cards of upstreams that are as they were; make the others anew."""
        upstreams = self._bridge.core.upstreams()
        wanted = {upstream.name: upstream for upstream in upstreams}
        for name, card in tuple(self.cards.items()):
            if wanted.get(name) != card.upstream:
                self._drop(card)
                del self.cards[name]
        for position, upstream in enumerate(upstreams):
            card = self.cards.get(upstream.name) or self._make(upstream)
            if self._cards.indexOf(card) != position:
                self._cards.insertWidget(position, card)
        self._none.setVisible(not upstreams)
        self._on_snapshot(self._bridge.snapshot)

    def _make(self, upstream: UpstreamSettings) -> "UpstreamCard":
        card = UpstreamCard(upstream, self._bridge.core.address)
        card.sign_in_wanted.connect(self.sign_in_wanted)
        card.sign_out_wanted.connect(self.sign_out_wanted)
        card.remove_wanted.connect(self.remove_wanted)
        card.settings_button.clicked.connect(self._actions.open_settings_file.trigger)
        card.pause_wanted.connect(self._actions.pause_upstream)
        self.cards[upstream.name] = card
        return card

    def _on_snapshot(self, snapshot: SyncSnapshot) -> None:
        health = {each.upstream: each for each in snapshot.upstreams}
        for name, card in self.cards.items():
            card.show_health(health.get(name), self._bridge.core.pull_health(name))


class UpstreamCard(QFrame):
    """One upstream."""

    sign_in_wanted = Signal(str, str)
    sign_out_wanted = Signal(str)
    remove_wanted = Signal(str)
    pause_wanted = Signal(str, bool)

    def __init__(self, upstream: UpstreamSettings, address: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.upstream = upstream
        self._health: UpstreamHealth | None = None
        self._shown: tuple[UpstreamHealth | None, PullHealth] | None = None
        self.setAccessibleName(f"Upstream {words.plain(upstream.name, 80)}")
        self._glyph = GlyphLabel("clock", 20, "secondary")
        self._state = paragraph()
        self._pulls = paragraph()
        give_role(self._pulls, "role", "secondary")
        self.pause_button = Button("Pause")
        self.sign_in_button = Button("Sign in…")
        self.sign_out_button = Button("Sign out")
        self.settings_button = Button("Open settings file", face="main")
        self.remove_button = Button("Remove…")
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(4)
        column.addLayout(self._title_row())
        column.addLayout(self._text())
        column.addSpacing(8)
        column.addLayout(self._button_row())
        self._route.set_text(route_in_words(upstream, address))
        self.pause_button.clicked.connect(self._on_pause)
        self.sign_in_button.clicked.connect(self._on_sign_in)
        self.sign_out_button.clicked.connect(self._on_sign_out)
        self.remove_button.clicked.connect(self._on_remove)
        self.show_health(None, PullHealth())

    def show_health(self, health: UpstreamHealth | None, pulls: PullHealth) -> None:
        """How it is, as last seen by syncs (None: they know nothing of it) and by pulls."""
        if (health, pulls) == self._shown:
            return
        self._health, self._shown = health, (health, pulls)
        state, reason = pulls.beside(health.state, health.reason) if health else pulls.beside("unknown", "")
        glyph, colour, text = _STATES.get(state, _STATES["unknown"])
        paused = health is not None and health.paused
        if paused:
            glyph, colour, text = "pause", "secondary", "Paused"
        self._glyph.show_glyph(glyph, colour)
        said = words.sentence(words.plain(reason, 600))
        self._state.setText(f"{text}: {said}" if said and not paused else text)
        asking = state == "needs_you"
        give_role(self._state, "role", "needs_you" if asking else "secondary")
        give_role(self.sign_in_button, "face", "main" if health and health.needs_credentials else "")
        self.settings_button.setVisible(
            health is not None and health.needs_settings and self.upstream.auth.is_configured
        )
        self.pause_button.setText("Resume" if paused else "Pause")
        self._show_pulls(pulls, is_said=pulls.reason == reason and not paused)

    def _show_pulls(self, pulls: PullHealth, *, is_said: bool) -> None:
        """How pulls from it go, where there is something to say; `is_said`: why they don't ask it is."""
        said = []
        if self.upstream.pull and pulls.state != "ok":
            why = "" if is_said else f": {words.plain(pulls.reason, 300)}"
            how_long = "" if pulls.state == "offline" else " for a while"
            said.append(words.sentence(f"Pulls get what is cached, and don’t ask it{how_long}{why}"))
        if self.upstream.pull and pulls.quota is not None:
            quota = pulls.quota
            said.append(f"{quota.remaining} of {quota.limit} pulls left in {words.duration(quota.window_seconds)}.")
        self._pulls.setText(" ".join(said))
        self._pulls.setVisible(bool(said))

    def _title_row(self) -> QHBoxLayout:
        title = QHBoxLayout()
        title.setSpacing(8)
        title.addWidget(self._glyph)
        title.addWidget(ElidedLabel(self.upstream.name, font=label(step=1, weight=QFont.Weight.Medium).font()))
        if self.upstream.registry != self.upstream.name:
            title.addWidget(ElidedLabel(f"{self.upstream.registry}", colour="secondary"))
        title.addStretch(1)
        for way, wanted in (("push", self.upstream.push), ("pull", self.upstream.pull)):
            if wanted:
                chip = label(way, step=-1)
                chip.setObjectName("chip")
                title.addWidget(chip)
        return title

    def _text(self) -> QVBoxLayout:
        self._route = ElidedLabel(colour="secondary", mode=Qt.TextElideMode.ElideMiddle)
        text = QVBoxLayout()
        text.setContentsMargins(28, 0, 0, 0)
        text.setSpacing(4)
        text.addWidget(self._route)
        text.addWidget(self._state)
        text.addWidget(self._pulls)
        return text

    def _button_row(self) -> QHBoxLayout:
        keychain = not self.upstream.auth.is_configured
        row = QHBoxLayout()
        row.setContentsMargins(28, 0, 0, 0)
        row.setSpacing(8)
        for button, wanted in (
            (self.sign_in_button, keychain),
            (self.sign_out_button, keychain),
            (self.settings_button, not keychain),
            (self.pause_button, self.upstream.push),
        ):
            if wanted:
                row.addWidget(button)
            else:
                button.setParent(self)
                button.hide()
        row.addStretch(1)
        row.addWidget(self.remove_button)
        return row

    def _on_pause(self) -> None:
        self.pause_wanted.emit(self.upstream.name, not (self._health is not None and self._health.paused))

    def _on_sign_in(self) -> None:
        reason = self._health.reason if self._health and self._health.needs_credentials else ""
        self.sign_in_wanted.emit(self.upstream.name, reason)

    def _on_sign_out(self) -> None:
        self.sign_out_wanted.emit(self.upstream.name)

    def _on_remove(self) -> None:
        self.remove_wanted.emit(self.upstream.name)


def route_in_words(upstream: UpstreamSettings, address: str) -> str:
    """`localhost:5050/team/… ↔ registry.corp/team/…`."""
    here = "/".join(part for part in (address, upstream.prefix, "…") if part)
    there = "/".join(part for part in (upstream.registry, upstream.path, "…") if part)
    arrow = {(True, True): "↔", (True, False): "→", (False, True): "←"}.get((upstream.push, upstream.pull), "")
    return words.plain(f"{here}  {arrow}  {there}" if arrow else there)
