"""Pictures of values: histograms against a law's density, single values, corners of matrices."""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode

import numpy as np

from initpolicy.laws import Drawn
from initpolicy.report.page.axes import Scale, place, short
from initpolicy.report.page.drawing import Floats, Sample
from initpolicy.report.page.markup import Markup, code, details, join, number, share, table, tag

_BINS = 32
_CURVE = 4  # points of the density to a bin
_FEW = 12  # distinct values that are counted one by one
_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 12.0, 348.0, 8.0, 132.0, 360, 156

_NEGATIVE, _POSITIVE = (0x2B, 0x7B, 0xBA), (0xD9, 0x6B, 0x14)


def picture(sample: Sample) -> Markup:
    """A sample as a figure, with what it is below and its numbers in a table."""
    distinct, counts = np.unique(sample.values, return_counts=True)
    finite = bool(np.isfinite(sample.values).all())
    name = f"{sample.name}, {sample.label}" if sample.label else sample.name
    if len(distinct) <= _FEW or not finite:
        shares = counts / counts.sum()
        found = _single(name, distinct[:_FEW], shares[:_FEW])
    else:
        found = _histogram(name, sample)
    many = len(sample.values)
    seen = f"{many:,} values" if many == sample.total else f"{many:,} of {sample.total:,} values"
    caption = tag("figcaption", code(name), " follows ", code(sample.law), f"; {seen}")
    matrix = None if sample.corner is None else _matrix(name, sample.corner)
    return tag("figure", caption, tag("div", matrix, found, class_="pair"))


def _histogram(name: str, sample: Sample) -> Markup:
    values, law = sample.values, sample.law
    low, high = _range(values, law)
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    shares = counts / len(values)
    across = Scale(low, high, _LEFT, _RIGHT)
    dense = _density(law, edges) if isinstance(law, Drawn) else None
    top = max(float(shares.max()), 0.0 if dense is None else float(dense[1].max()))
    up = Scale(0, top * 1.04, _BOTTOM, _TOP)
    floor = place(_BOTTOM)
    bars = "".join(
        f"M{place(across(a))} {floor}V{place(up(v))}H{place(across(b) - 0.6)}V{floor}"
        for a, b, v in zip(edges[:-1], edges[1:], shares, strict=True)
        if v
    )
    curve = None
    if dense is not None:
        points = [f"{place(across(x))} {place(up(y))}" for x, y in zip(*dense, strict=True)]
        start, stop = place(across(float(dense[0][0]))), place(across(float(dense[0][-1])))
        path = f"M{start} {floor}L{'L'.join(points)}L{stop} {floor}"
        curve = tag("path", d=path, class_="density")
    mean, std = float(values.mean()), float(values.std())
    told = f"mean {number(mean)}, standard deviation {number(std)}"
    moments = law.moments
    if moments is not None:
        told += f"; the law has {number(moments.mean)} and {number(moments.std)}"
    against = f" against the density of {law}" if dense is not None else ""
    drawn = tag(
        "svg",
        tag("title", f"Histogram of {name}{against}"),
        tag("desc", f"{_BINS} bars from {number(low)} to {number(high)}; {told}."),
        tag("path", d=bars, class_="bars"),
        curve,
        _axis(across),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        class_="histogram",
    )
    expected = _expected(law, edges) if isinstance(law, Drawn) else None
    heads = ["from", "to", "values", "law"][: 4 if expected is not None else 3]
    rows = [
        [
            number(float(edges[i])),
            number(float(edges[i + 1])),
            share(float(shares[i])),
            *([] if expected is None else [share(float(expected[i]))]),
        ]
        for i in range(_BINS)
    ]
    numbers = table(f"Shares of {name}", heads, rows, numbers=range(len(heads)))
    return tag("div", drawn, tag("p", told, class_="told"), details("Numbers", numbers))


def _range(values: Floats, law: object) -> tuple[float, float]:
    """What a histogram covers: all values, and where the law can be expected to have some."""
    low, high = float(values.min()), float(values.max())
    if isinstance(law, Drawn):
        mean, std = law.moments.mean, law.moments.std
        first, last = law.support
        low = min(low, max(first, mean - 3.5 * std))
        high = max(high, min(last, mean + 3.5 * std))
    return (low, high) if low < high else (low - 1, high + 1)


def _expected(law: Drawn, edges: Floats) -> Floats:
    """The share of values that a law has between edges."""
    return np.diff(law.cdf(edges))


def _density(law: Drawn, edges: Floats) -> tuple[Floats, Floats]:
    """The density of a law, as the share of values in a bin as wide as those of the bars.

    It is the slope of the distribution function, within the support.
    """
    first, last = law.support
    low, high = max(float(edges[0]), first), min(float(edges[-1]), last)
    fine = np.linspace(low, high, _CURVE * _BINS + 1)
    width = float(edges[1] - edges[0])
    gaps = np.diff(fine)
    heights = np.diff(law.cdf(fine)) / gaps * width
    middles = (fine[:-1] + fine[1:]) / 2
    middles[0], middles[-1] = low, high
    return middles, heights


def _axis(across: Scale) -> Markup:
    ticks = [value for value in across.ticks if math.isfinite(value)]
    line = f"M{_LEFT:.0f} {_BOTTOM:.0f}H{_RIGHT:.0f}"
    marks = "".join(f"M{place(across(value))} {_BOTTOM:.0f}v4" for value in ticks)
    labels = [
        tag("text", short(value), x=place(across(value)), y=_HEIGHT - 6, text_anchor="middle")
        for value in ticks
    ]
    return join([tag("path", d=line + marks, class_="axis"), *labels])


def _single(name: str, values: Floats, shares: Floats) -> Markup:
    """A few distinct values, each with a bar."""
    rows = [
        [
            number(float(value)),
            share(float(part)),
            tag("span", class_="meter", style=f"--part:{100 * float(part):.1f}%"),
        ]
        for value, part in zip(values, shares, strict=True)
    ]
    return tag(
        "div",
        table(f"All values of {name}", ["value", "share", ""], rows, numbers=(0, 1)),
        class_="single",
    )


def _matrix(name: str, corner: Floats) -> Markup:
    rows, columns = corner.shape
    side = f"{rows} rows and {columns} columns"
    image = tag(
        "img",
        src="data:image/png;base64," + b64encode(_png(corner)).decode(),
        alt=f"The first {side} of {name} as a matrix: blue is negative, orange positive, "
        "and what is pale is small",
        width=144,
        height=max(24, round(144 * rows / columns)) if columns >= rows else 144,
        class_="matrix",
    )
    return tag("div", image, tag("p", f"the first {side}", class_="told"))


def _png(matrix: Floats) -> bytes:
    """A picture with a pixel for each element, whose colour is the sign and opacity the size."""
    finite = np.where(np.isfinite(matrix), matrix, 0.0)
    largest = float(np.abs(finite).max()) or 1.0
    pixels = np.zeros((*matrix.shape, 4), dtype=np.uint8)
    for wanted, colour in ((finite < 0, _NEGATIVE), (finite >= 0, _POSITIVE)):
        pixels[..., :3][wanted] = colour
    pixels[..., 3] = np.rint(15 * np.abs(finite) / largest) * 17  # few shades pack well
    lines = b"".join(b"\x00" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", matrix.shape[1], matrix.shape[0], 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
