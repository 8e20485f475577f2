"""What a UserError says to a terminal, whatever a file or an option has put into it."""

import pickle

from hostile import cases
from hypothesis import example, given
from hypothesis import strategies as st

from whisper_er.base.errors import LONGEST, UserError


@given(message=st.text(min_size=1, max_size=80), times=st.sampled_from((1, 1, 100)))
@example(message="\udcff", times=1)
@example(message="x", times=10**6)
@cases(500)
def test_a_message_is_one_printable_line_of_bounded_length(message, times):
    error = UserError(message * times)
    assert str(error).isprintable() and len(str(error)) <= LONGEST == 2000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # it comes back from a worker process
    if message.isprintable() and times == 1:
        assert str(error) == message
