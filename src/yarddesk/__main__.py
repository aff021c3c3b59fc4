"""`yarddesk` and `python -m yarddesk`."""

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    # httpx brings a command line of its own, with rich and pygments where they happen to be installed: 5 MB and a tenth of
    # a second for nothing. This makes it believe, as it does where they are not, that it can't be imported.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    from yarddesk.cli.main import run
    from yarddesk.cli.output import speak_any_language

    speak_any_language()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
