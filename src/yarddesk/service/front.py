"""What a running yard tells its front-end beyond the queue: what stops everything, and how a sign-in went."""

from dataclasses import dataclass
from enum import StrEnum


class Remedy(StrEnum):
    """What the button beside a problem does."""

    RETRY = "retry"
    OPEN_DATA_FOLDER = "open_data_folder"
    OPEN_QUEUE_FOLDER = "open_queue_folder"
    OPEN_SETTINGS_FILE = "open_settings_file"
    SHOW_UPSTREAMS = "show_upstreams"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that stops everything: no network, a disk that is nearly full, settings that can't be used.

    `title` is one sentence, `hint` what to do about it, `details` the raw answer for whoever wants it. Not `stops`: it can wait,
    and is told of where there is nothing else to tell.
    """

    title: str
    hint: str = ""
    details: str = ""
    remedy: Remedy | None = None
    stops: bool = True


@dataclass(frozen=True, slots=True)
class SignInResult:
    """The credential is in the keychain. `checked`: the registry took it; else it was out of reach for the `reason`."""

    checked: bool
    reason: str = ""
