"""Strategies of locks: entries as plans could have them, of any names."""

from __future__ import annotations

from hypothesis import strategies as st

from initpolicy.laws import (
    Arranged,
    Constant,
    Dirac,
    Eye,
    Formula,
    FromFile,
    Mimetic,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from initpolicy.lockfile import Entry, Lock, has_digest
from initpolicy.lockfile.document import Calibrated
from initpolicy.problems import Location

numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False)
normals = st.builds(Normal, numbers, positive)
uniforms = st.tuples(numbers, numbers).map(lambda pair: Uniform(*sorted(pair)))
drawn = st.one_of(
    normals,
    uniforms,
    st.builds(
        TruncatedNormal, numbers, positive, st.floats(max_value=-1e-9), st.floats(min_value=1e-9)
    ),
)
plain = st.one_of(
    drawn,
    st.builds(Constant, numbers),
    st.builds(Eye, numbers),
    st.builds(Dirac, st.integers(1, 100), numbers),
    st.builds(Orthogonal, numbers),
    st.builds(Sparse, st.floats(0, 1), positive),
    st.builds(Stratified, uniforms | normals),
    st.builds(Mimetic, st.sampled_from(["q", "k"]), numbers, numbers, st.integers(1, 9), numbers),
    st.builds(Formula, st.sampled_from(["z", "10000 ** (-2 * i0 / 64)", "u + i / 2"]), numbers),
    st.builds(
        FromFile,
        st.text(),
        st.text().filter(lambda key: key not in ("inf", "-inf")),
        st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    ).filter(lambda law: law.path not in ("inf", "-inf")),
)
laws = st.one_of(
    plain,
    st.builds(ZeroRows, plain, st.lists(st.integers(0, 99), max_size=3).map(tuple)),
    st.builds(Arranged, plain, st.sampled_from(["oi", "bio", "ko"])),
    st.builds(Stacked, st.lists(plain | st.none(), min_size=1, max_size=3).map(tuple)),
)
texts = st.text(max_size=12)
names = st.one_of(
    st.from_regex(r"[a-z]{1,3}(\.[0-9]{1,3}|\.[a-z]{1,4}){0,4}", fullmatch=True), texts
)
steps = st.lists(st.sampled_from(["lsuv", "autoencoder", "theirs_2"]), max_size=2).map(tuple)
digests = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def entries(draw: st.DrawFn, name: str, digest: bool) -> Entry:
    how = draw(st.sampled_from(["law", "law", "law", "keep", "constructor"]))
    made = Entry(
        name=name,
        shape=tuple(draw(st.lists(st.integers(0, 2**60), max_size=4))),
        dtype=draw(st.sampled_from(["float32", "bfloat16", "int64", "bool", "float8_e4m3fn"])),
        kind=draw(st.sampled_from(["parameter", "buffer"])),
        persistent=draw(st.booleans()),
        law=draw(laws) if how == "law" else None,
        constructor=draw(texts.filter(bool)) if how == "constructor" else "",
        gain=draw(texts),
        rule=draw(st.none() | texts),
        stream=draw(texts),
        aliases=tuple(f"{name} also {number}" for number in range(draw(st.integers(0, 2)))),
        steps=draw(steps),
    )
    if not (digest and has_digest(made)):
        return made
    return Entry(**{**vars(made), "digest": draw(digests)})


def calibrated(data: bool) -> st.SearchStrategy[Calibrated]:
    return st.builds(Calibrated, texts, texts, digests if data else st.just(""))


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    values = draw(st.sampled_from(["values", "none"]))
    chosen = draw(st.lists(names, unique=True, max_size=3))
    places = st.builds(Location, texts, st.integers(0, 10**6))
    return Lock(
        entries=tuple(draw(entries(name, values == "values")) for name in chosen),
        seed=draw(st.integers(0, 2**64 - 1)),
        draws=draw(st.integers(1, 9)),
        policy=draw(texts),
        title=draw(texts),
        variables=draw(st.dictionaries(texts, st.floats(allow_nan=False), max_size=3)),
        rules=draw(
            st.dictionaries(texts, st.lists(places, min_size=1, max_size=3).map(tuple), max_size=3)
        ),
        digests=values,
        steps=tuple(draw(st.lists(calibrated(values == "values"), max_size=2))),
    )
