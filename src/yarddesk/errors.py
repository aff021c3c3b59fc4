"""The root of every error that yarddesk raises on purpose, written for the person who reads it."""


class YarddeskError(Exception):
    """What happened, to what, and what to do next.

    `title` is one short sentence; `message` says more, for the details; `hint` names the next step.
    `temporary` is True when the same thing may well succeed later without anybody's doing.
    """

    def __init__(self, title: str, message: str = "", *, hint: str = "", temporary: bool = False) -> None:
        super().__init__(title)
        self.title = title
        self.message = message
        self.hint = hint
        self.temporary = temporary

    def __str__(self) -> str:
        *before, last = [part for part in (self.title, self.message, self.hint) if part] or [""]
        return " ".join([*map(ended, before), last])


def ended(part: str) -> str:
    """What others (a registry, a system) say is seldom a sentence, and more follows."""
    return part if part.rstrip(")”\"'")[-1:] in ".!?…:;," else f"{part}."
