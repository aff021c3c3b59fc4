"""The container engines: a card for each that was found, and below them the names of those that were not."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.tasks import Tasks
from yarddesk.desktop.views.cards_page import CardsPage
from yarddesk.desktop.views.engine_card import EngineCard
from yarddesk.desktop.views.parts import Button, paragraph
from yarddesk.engines.model import ContainerEngine, EngineStatus, Plan, Proof, SetupState, Undone
from yarddesk.errors import YarddeskError


class SetupPage(CardsPage):
    """Asks the engines when it is shown; what a card asks for runs as a task, one at a time for each engine."""

    def __init__(self, bridge: Bridge, tasks: Tasks, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._core = bridge.core
        self._tasks = tasks
        self.cards: dict[str, EngineCard] = {}
        self._absent: dict[str, str] = {}
        self._plans: dict[str, Plan] = {}
        self.check_button = Button("Look again")
        self.check_button.clicked.connect(self.look)
        self._looking = paragraph("Looking for container engines…")
        self.absent_button = Button("", face="link")
        self.absent_button.setCheckable(True)
        self.absent_button.toggled.connect(self._show_absent)
        self._absent_text = paragraph()
        column = self._lay_out(
            "Set up",
            "let your container engines push here",
            self.check_button,
            above=[self._looking],
            below=[self.absent_button, self._absent_text],
        )
        column.setAlignment(self.absent_button, Qt.AlignmentFlag.AlignLeft)
        self._show_absent()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.look()

    def look(self) -> None:
        """Ask every engine how it is."""
        self._looking.setVisible(not self.cards)
        for engine in self._core.engines:
            if engine.key not in self.cards or not self.cards[engine.key].busy:
                self._ask(engine)

    def _ask(self, engine: ContainerEngine) -> None:
        self._tasks.spawn(
            engine.status(self._core.engine_address),
            what=f"Looking for {engine.title}",
            done=lambda status: self._on_status(engine, status),
        )

    def _on_status(self, engine: ContainerEngine, status: EngineStatus) -> None:
        self._looking.hide()
        if not status.found:
            self._absent[engine.key] = engine.title
            self._remove(engine.key)
            self._show_absent()
            return
        self._absent.pop(engine.key, None)
        self._show_absent()
        card = self.cards.get(engine.key) or self._make(engine)
        if card.busy:
            return  # an answer from before; the engine is asked again when what runs now is done
        card.show_status(status)
        self._plans.pop(engine.key, None)
        if status.state is SetupState.NOT_SET_UP:
            self._tasks.spawn(
                engine.plan(self._core.engine_address),
                what=f"Planning the set-up of {engine.title}",
                done=lambda plan: self._on_plan(engine.key, plan),
                failed=card.show_error,
            )

    def _on_plan(self, key: str, plan: Plan) -> None:
        self._plans[key] = plan
        if key in self.cards:
            self.cards[key].show_plan(plan)

    def _make(self, engine: ContainerEngine) -> EngineCard:
        card = EngineCard(engine.key, engine.title)
        card.apply_wanted.connect(self._apply)
        card.undo_wanted.connect(self._undo)
        card.prove_wanted.connect(self._prove)
        self.cards[engine.key] = card
        order = [each.key for each in self._core.engines if each.key in self.cards]
        self._cards.insertWidget(order.index(engine.key), card)
        return card

    def _remove(self, key: str) -> None:
        card = self.cards.pop(key, None)
        if card is not None:
            self._drop(card)

    def _engine(self, key: str) -> ContainerEngine:
        return next(engine for engine in self._core.engines if engine.key == key)

    def _apply(self, key: str) -> None:
        engine, plan = self._engine(key), self._plans.get(key)
        if plan is None:
            return
        self.cards[key].show_busy("Writing the change, and pushing and pulling a tiny image…")
        self._tasks.spawn(
            engine.apply(plan),
            what=f"Setting up {engine.title}",
            done=lambda proof: self._on_applied(engine, proof),
            failed=lambda error: self._on_failed(engine, error),
        )

    def _undo(self, key: str) -> None:
        engine = self._engine(key)
        self.cards[key].show_busy("Taking the change back…")
        self._tasks.spawn(
            engine.undo(),
            what=f"Undoing the set-up of {engine.title}",
            done=lambda undone: self._on_undone(engine, undone),
            failed=lambda error: self._on_failed(engine, error),
        )

    def _prove(self, key: str) -> None:
        engine = self._engine(key)
        self.cards[key].show_busy("Pushing and pulling a tiny image…")
        self._tasks.spawn(
            engine.prove(self._core.engine_address),
            what=f"Proving {engine.title}",
            done=lambda proof: self._on_applied(engine, proof),
            failed=lambda error: self._on_failed(engine, error),
        )

    def _on_applied(self, engine: ContainerEngine, proof: Proof | None) -> None:
        said = proof.sentence if proof else "Set up. It isn’t running, so nothing was pushed to prove it."
        self._finish(engine, said)

    def _on_undone(self, engine: ContainerEngine, undone: Undone) -> None:
        self._finish(engine, undone.sentence)

    def _finish(self, engine: ContainerEngine, said: str) -> None:
        card = self.cards.get(engine.key)
        if card is not None:
            card.show_result(said)
        self._ask(engine)

    def _on_failed(self, engine: ContainerEngine, error: YarddeskError) -> None:
        card = self.cards.get(engine.key)
        if card is not None:
            card.show_error(error)
        self._ask(engine)

    def _show_absent(self) -> None:
        titles = [engine.title for engine in self._core.engines if engine.key in self._absent]
        opened = self.absent_button.isChecked()
        self.absent_button.setVisible(bool(titles))
        self.absent_button.setText(f"{'Hide' if opened else 'Show'} what was not found ({len(titles)})")
        self._absent_text.setText("\n".join(f"{title}: not on this machine" for title in titles))
        self._absent_text.setVisible(bool(titles) and opened)
