"""Which dimensions of a tensor are outputs, inputs, receptive field, and stacks of matrices."""

from __future__ import annotations

import math

from initpolicy.model.facts import Facts


class LayoutError(ValueError):
    """A layout that cannot be read, or that does not fit a tensor; the message says why."""


def read_layout(text: str) -> str:
    """Read a layout such as `"i o"`; gives its letters, a final `*` for any number of `k`.

    Letters stand apart: `o` for outputs, `i` for inputs, `k` for receptive field, `b` for
    independent matrices. Raises `LayoutError` for anything else.

    >>> read_layout("b i o"), read_layout("i o k*")
    ('bio', 'iok*')
    """
    letters = text.split(" ")
    for letter in letters:
        if letter not in ("o", "i", "k", "b", "k*"):
            raise LayoutError(
                f'layout "{text}": "{letter}" is none of o (outputs), i (inputs), k (receptive '
                "field), b (independent matrices) and k* (all that remain)"
            )
    if "k*" in letters[:-1]:
        raise LayoutError(f'layout "{text}": only the last letter may be "k*"')
    if "o" not in letters or "i" not in letters:
        raise LayoutError(f'layout "{text}": it needs an "o" and an "i", as in "o i k*"')
    return "".join(letters)


def letters_of(layout: str, ndim: int) -> str:
    """Give one letter for each of `ndim` dimensions; raises `LayoutError` if they do not fit.

    >>> letters_of("iok*", 4)
    'iokk'
    """
    letters = layout
    if layout.endswith("*"):
        letters = layout[:-2] + "k" * (ndim - len(layout) + 2)
    if len(letters) != ndim:
        shown = " ".join(layout).replace(" *", "*")
        raise LayoutError(f'the layout "{shown}" does not fit a tensor of {ndim} dimensions')
    return letters


def arranged(facts: Facts, layout: str = "", chunks: int = 1) -> Facts:
    """The facts of each of `chunks` matrices stacked along dimension 0, read by `layout`.

    An empty layout is torch's. Of a fused projection `(3 * out, in)`, each of 3 chunks has
    `fan_out` out. Raises `LayoutError` if layout or chunks do not fit the shape.

    >>> arranged(Facts((192, 64)), chunks=3).fan_out
    64
    >>> experts = arranged(Facts((8, 64, 128)), "bio")
    >>> experts.fan_in, experts.fan_out
    (64, 128)
    """
    shape = facts.shape
    if chunks != 1:
        if not shape or chunks < 1 or shape[0] % chunks:
            size = f"dimension 0 has {shape[0]}" if shape else "it has no dimension 0"
            raise LayoutError(f"{chunks} equal chunks do not fit a tensor of shape {shape}: {size}")
        shape = (shape[0] // chunks, *shape[1:])
    if not layout and (chunks == 1 or len(shape) < 2):
        return facts
    letters = letters_of(layout or "oik*", len(shape))
    sizes = {
        letter: math.prod(size for size, own in zip(shape, letters, strict=True) if own == letter)
        for letter in "oik"
    }
    return Facts.with_fans(
        facts.shape,
        fan_in=sizes["i"] * sizes["k"],
        fan_out=sizes["o"] * sizes["k"],
        receptive_field=sizes["k"],
        dtype=facts.dtype,
    )
