"""whisper_er.bin.train by graphs, rehearsed without a GPU.

    torchrun ... rehearsed_training.py RANK [argument of whisper_er.bin.train ...]

The process of that rank cannot capture; none: -1.
"""

import sys

from recorded_graph import RecordedGraph

from whisper_er.bin import train
from whisper_er.graphs import captured
from whisper_er.graphs.captured import CaptureFailed
from whisper_er.graphs.passes import Passes
from whisper_er.models import encoder
from whisper_er.process import distributed
from whisper_er.step import backward, parallel


def rehearsed(*arguments: object) -> Passes:
    passes = Passes(*arguments, rehearse=True)
    if distributed.rank() == FAILS:
        passes.captured.capture = fail
    return passes


def fail(inputs: object) -> None:
    raise CaptureFailed("no driver")


if __name__ == "__main__":
    FAILS = int(sys.argv.pop(1))
    backward.passes, captured.Rehearsal = rehearsed, RecordedGraph
    encoder.may_be_padded = lambda *_: True  # as on a GPU
    parallel.BUCKET = 1000  # so that there are several
    train.main()
