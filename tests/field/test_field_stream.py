"""Streams: one for each seed, name and tag, and always the same one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.field import Stream, stream

KNOWN = [
    (897782972, 3697948153, 3035687646, 3927827329),
    (3117454621, 131463951, 814018314, 4135234189),
]


def test_known_streams():
    assert stream(0, "") == Stream(KNOWN[0][:2], KNOWN[0][2:])
    assert stream(2**64 - 1, "étage.poids", "mask") == Stream(KNOWN[1][:2], KNOWN[1][2:])


@given(st.tuples(st.integers(0, 2**64 - 1), st.text(), st.text()), st.data())
def test_different_questions_have_different_streams(one, data):
    seed, name, tag = one
    cut = data.draw(st.integers(0, len(name)))
    others = {
        (seed ^ 1, name, tag),
        (seed, name + "x", tag),
        (seed, name, tag + "x"),
        (seed, tag, name),
        (seed, name[:cut], name[cut:] + tag),  # lengths are part of the message
    }
    for other in others - {one}:
        assert stream(*other) != stream(*one)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match=f"less than .* not {seed}"):
        stream(seed, "a")


@pytest.mark.parametrize("seed", [1.0, "1", None])
def test_seeds_are_integers(seed):
    with pytest.raises(TypeError):
        stream(seed, "a")
