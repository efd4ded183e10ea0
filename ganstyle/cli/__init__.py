"""The verbs of the command line. A person's mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ganstyle.base.errors import LAUNCHER, RunFailed, ToldElsewhere, UserError
from ganstyle.cli import evaluating, looking, stylizing, training, translating  # noqa: F401 - their verbs join the app
from ganstyle.cli.app import app, config_app, dataset_app
from ganstyle.tracking.console import say

__all__ = ["app", "config_app", "dataset_app", "main"]


def _fail(text: str, code: int) -> NoReturn:
    say(f"error: {text}")
    raise SystemExit(code)


def main() -> None:
    """Run the command line."""
    try:
        _run()
    except SystemExit as ended:
        if ended.code and LAUNCHER in os.environ:
            # Another rank may be gone, and then the threads that were talking to it abort a process that tidies up.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise


def _run() -> None:
    try:
        app()
    except UserError as error:
        _fail(str(error), 2)
    except ToldElsewhere as error:
        raise SystemExit(error.code) from None
    except RunFailed as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader of standard output went away (`| head`); Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # A path that the system refuses (a name too long, no permission to look) is a person's to mend.
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 2)
