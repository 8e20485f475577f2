"""PackedStrings: a sequence like the list that it was made from."""

import pytest

from whisper_er.base.packed_strings import PackedStrings


@pytest.mark.parametrize("values", [[], [""], ["a", "", "ü 😀", "", "b c"], ["x" * 1000]])
def test_it_reads_like_the_list(values):
    packed = PackedStrings(values)
    assert list(packed) == values
    assert len(packed) == len(values)
    assert [packed[index] for index in range(-len(values), len(values))] == values * 2
    assert packed.num_empty() == values.count("")


def test_there_is_nothing_outside():
    for index in (2, -3):
        with pytest.raises(IndexError):
            PackedStrings(["a", "b"])[index]
