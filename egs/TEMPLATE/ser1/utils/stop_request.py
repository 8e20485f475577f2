"""Whether the launcher has to stop."""

from __future__ import annotations

import os
import signal


class StopRequest:
    """True once a signal asked us to stop, or the process that started us is gone."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.caller = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, lambda number, _frame: self.received.append(number))

    def __bool__(self) -> bool:
        return bool(self.received) or os.getppid() != self.caller

    def insists(self) -> bool:
        """Whether Ctrl-C came twice: do not wait any longer."""
        return self.received.count(signal.SIGINT) > 1

    def exit_code(self) -> int:
        return 128 + (self.received or [signal.SIGTERM])[0]
