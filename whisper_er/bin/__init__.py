"""Entry points: one file each, argparse -> one call. `python -m whisper_er.bin.NAME --help` describes each."""

import sys
from collections.abc import Callable

from whisper_er.errors import UserError
from whisper_er.stop import Stopped


def run(main: Callable[[], None]) -> None:
    """Call an entry point; what the user can mend is one line and exit 1, a defect of ours keeps its traceback.

    What was asked to stop, and did, exits as the signal would have it: a scheduler must not take it for finished.
    """
    try:
        main()
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(128 + stopped.number)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
