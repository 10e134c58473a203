"""The command `celltwin`, also as `python -m controller`. A Ctrl-C while it still loads must not show a traceback."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Entry point of the console script."""
    # At once and without a word: nothing has begun. Commands that have something to end put their own handler here.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from controller.cli import main as command

    command()


if __name__ == "__main__":
    main()
