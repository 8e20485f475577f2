"""Signals that ask a program to stop: a cluster's warning, a preemption, Ctrl-C."""

import signal
from types import FrameType


def never() -> bool:
    """For a caller that no signal asks to stop."""
    return False


class Stopped(Exception):
    """Training was asked to stop, and has saved where it stands. number: of the signal; step: the last one done."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step} by {signal.Signals(number).name}; started again, it goes on there")
        self.number = number


class StopSignals:
    """In the `with` block TERM and Ctrl-C are only recorded; a second Ctrl-C ends the program at once.

    A second TERM does not: a scheduler sends it to every process, and torchrun passes its own on to them once more.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0 while there was none
        self.previous_handlers: dict[int, object] = {}

    def received(self) -> bool:
        return self.number != 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        signal.signal(signal.SIGINT, self.previous_handlers[signal.SIGINT])

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGTERM, signal.SIGINT):
            self.previous_handlers[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)


def outlive_signals() -> None:
    """Let the signals pass in a process that reads audio: without it, training would have no batches to stop after.

    What it starts, such as the command of a wav.scp, ends by them: it inherits what is ignored, but no handler.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
