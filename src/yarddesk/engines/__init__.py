"""Setting up the container engines of this machine to push to our registry, and taking it back to the byte.

    environment = EngineEnvironment.current()
    address = RegistryAddress.parse("localhost:5050")
    for engine in detect(environment, state_dir):           # all that we know, here or not
        status = await engine.status(address)               # state, sentence, next_step: show them as they are
    engine = find("docker", environment, state_dir)         # by its key; EngineNotFound for no such engine
    plan = await engine.plan(address)                       # writes nothing; plan.empty: nothing to do
    print(plan.diff(), plan.reload, *plan.notes)            # secrets in URLs are masked
    proof = await engine.apply(plan)                        # write, reload, prove; all put back where one fails
    print(proof.sentence if proof else "proved later")      # None: the engine doesn't run, or prove=False
    undone = await engine.undo()                            # undone.sentence, undone.to_the_byte

Every call raises EngineError (title, message, hint) and nothing else that is to be expected; `status` doesn't raise, but
says in its state BLOCKED what is wrong. Whatever blocks runs in threads with time limits, on any event loop.

state_dir is a folder of the data folder: there lies what undoes a set-up. It holds what we put in, not what was there, so
no password of a configuration gets into it. A proof pushes to PROOF_REPOSITORY and deletes what it pushed; nobody
should sync that repository. The registry must be running for a proof.
"""

from pathlib import Path

from yarddesk.engines.environment import Ended, EngineEnvironment
from yarddesk.engines.model import (
    ChangedMeanwhile,
    ConfigurationInvalid,
    ContainerEngine,
    EngineError,
    EngineNotFound,
    EngineStatus,
    FileChange,
    Plan,
    Proof,
    ProofFailed,
    RegistryAddress,
    SetupState,
    Sweep,
    Undone,
)
from yarddesk.engines.proof_image import PROOF_REPOSITORY

__all__ = [
    "PROOF_REPOSITORY",
    "ChangedMeanwhile",
    "ConfigurationInvalid",
    "ContainerEngine",
    "Ended",
    "EngineEnvironment",
    "EngineError",
    "EngineNotFound",
    "EngineStatus",
    "FileChange",
    "Plan",
    "Proof",
    "ProofFailed",
    "RegistryAddress",
    "SetupState",
    "Sweep",
    "Undone",
    "detect",
    "find",
]


def detect(environment: EngineEnvironment, state_dir: Path) -> tuple[ContainerEngine, ...]:
    """The engines that can be set up, whether they are here or not; `status` tells. Asks nothing yet.

    state_dir: the folder for what undoes a set-up; it is made, 0700, when there is something to keep.
    """
    # Loaded where somebody looks at engines: no push or pull needs them.
    from yarddesk.engines.docker import DockerEngine
    from yarddesk.engines.podman import PodmanEngine

    return (DockerEngine(environment, state_dir), PodmanEngine(environment, state_dir))


def find(key: str, environment: EngineEnvironment, state_dir: Path) -> ContainerEngine:
    """The engine of that key. Raises EngineNotFound, naming those that there are."""
    engines = detect(environment, state_dir)
    for engine in engines:
        if engine.key == key:
            return engine
    raise EngineNotFound(f"“{key[:100]}” is no engine.", hint=f"There are: {', '.join(each.key for each in engines)}.")
