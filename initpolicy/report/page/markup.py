"""HTML as text that is known to be whole: whatever is not made here is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape, unescape
from typing import Any

_VOID = frozenset({"meta", "img", "br"})


class Markup(str):
    """HTML that may stand in a page as it is."""

    __slots__ = ()


def words(text: object) -> Markup:
    r"""Text of anyone, so that a browser shows it and does nothing else with it.

    What cannot be seen is written as Python writes it: some characters turn the direction of what
    follows, others no file can hold.

    >>> words("a <b> & c\x00")
    'a &lt;b&gt; &amp; c\\x00'
    """
    given = str(text)
    if isinstance(text, Markup):
        return text
    if not given.isprintable():
        given = "".join(
            char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
            for char in given.replace("\t", "    ")
        )
    return Markup(escape(given))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Several parts, one after the other; None is left out."""
    return Markup(words(between).join(words(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: Any) -> Markup:
    """An element; attributes that are None or False are left out.

    `class_` is the attribute `class`, and other underscores are hyphens.

    >>> tag("p", "1 < 2", tag("br"), class_="note", aria_label='"so"', hidden=True, id=None)
    '<p class="note" aria-label="&quot;so&quot;" hidden>1 &lt; 2<br></p>'
    """
    given = "".join(
        f" {_key(key)}" + ("" if value is True else f'="{words(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def _key(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def code(text: object, /, **attributes: Any) -> Markup:
    """A name or an expression, in letters of one width."""
    return tag("code", text, **attributes)


def table(
    caption: object,
    heads: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    numbers: Iterable[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table whose first column names the rows; `numbers` are the columns of numbers.

    It scrolls by itself where a window is narrow, and can be reached with the keyboard.
    """
    right = frozenset(numbers)

    def kind(place: int) -> str | None:
        return "n" if place in right else None

    head = tag(
        "tr", *(tag("th", text, scope="col", class_=kind(i)) for i, text in enumerate(heads))
    )
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, class_=kind(i))
                if i
                else tag("th", cell, scope="row", class_=kind(i))
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", head),
        tag("tbody", join(body, "\n")),
        class_=class_,
    )
    return tag(
        "div", whole, class_="scroll", role="region", tabindex="0", aria_label=_plain(caption)
    )


def _plain(text: object) -> str:
    """The words of a caption, without its elements."""
    return unescape(re.sub(r"<[^>]*>", "", text)) if isinstance(text, Markup) else str(text)


def details(summary: object, /, *children: object, open: bool = False, **attributes: Any) -> Markup:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", summary), *children, open=open, **attributes)


def number(value: float | None) -> str:
    """A number with three digits, or nothing.

    >>> number(0.000123456), number(None)
    ('0.000123', '')
    """
    return "" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """A part of a whole, or nothing.

    >>> share(0.5), share(0.0004), share(None)
    ('50 %', '0.04 %', '')
    """
    if value is None:
        return ""
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
