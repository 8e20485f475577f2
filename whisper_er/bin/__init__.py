"""Entry points: one file each, argparse -> one call. `python -m whisper_er.bin.NAME --help` describes each."""

import sys
from collections.abc import Callable

from whisper_er.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call an entry point; what the user can mend is one line and exit 1, a defect of ours keeps its traceback."""
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
