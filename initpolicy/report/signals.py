"""The signals of a model, for people: layer by layer, and of two policies side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from initpolicy.report.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from initpolicy.signals import LayerSignal, Probe

_MOST = 12
_LETTERS = "AB"

_Column = tuple[str, "Callable[[LayerSignal], str]"]


def text(probes: Sequence[Probe], to: Console, *, parameters: bool = False) -> None:
    """Every layer with what was measured there, and whether the conditions hold."""
    if len(probes) == 1:
        _print(_layers(probes[0]), to)
    else:
        _print(_beside(probes), to)
    attending = [layer for layer in probes[0].layers if layer.logit_std is not None]
    if attending:
        to.print()
        _print(_attention(probes), to)
    if parameters:
        to.print()
        _print(_parameters(probes), to)
    for letter, probe in zip(_LETTERS, probes, strict=False):
        to.print()
        for number, line in enumerate(probe.lines(_MOST)):
            if number == 0 and len(probes) > 1:
                line = f"{letter}  {line}"
            shown = Text(line[: len(line) - len(line.lstrip())] + one_line(line))
            if number == 0:
                shown.stylize("bold green" if probe.ok else "bold red")
            elif line.startswith("  NO "):
                shown.stylize("red")
            to.print(shown, soft_wrap=True)


def _table(first: Iterable[str], numbers: Iterable[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in first:
        table.add_column(title, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _print(table: Table, to: Console) -> None:
    to.print(table, width=100_000 if not to.is_terminal else None)


def _layers(probe: Probe) -> Table:
    columns: list[_Column] = [
        ("mean", lambda layer: _number(layer.mean)),
        ("std", lambda layer: _number(layer.std)),
        ("zero", lambda layer: _share(layer.zeros)),
        ("dead", lambda layer: _share(layer.dead)),
        ("saturated", lambda layer: _share(layer.saturated)),
        ("gradient", lambda layer: _number(layer.gradient)),
    ]
    table = _table(("layer", "function"), (title for title, _ in columns))
    for layer in probe.layers:
        table.add_row(*_called(layer), *(value(layer) for _, value in columns))
    return table


def _beside(probes: Sequence[Probe]) -> Table:
    columns: list[_Column] = [
        ("std", lambda layer: _number(layer.std)),
        ("zero", lambda layer: _share(layer.zeros)),
        ("saturated", lambda layer: _share(layer.saturated)),
        ("gradient", lambda layer: _number(layer.gradient)),
    ]
    table = _table(("layer", "function"), _titles([title for title, _ in columns], probes))
    others = [{(one.name, one.function): one for one in probe.layers} for probe in probes]
    for layer in probes[0].layers:
        same = [other.get((layer.name, layer.function)) for other in others]
        cells = [value(one) if one else "" for _, value in columns for one in same]
        table.add_row(*_called(layer), *cells)
    return table


def _attention(probes: Sequence[Probe]) -> Table:
    table = _table(("layer", "attention"), _titles(("logit std", "entropy"), probes))
    others = [{(one.name, one.function): one for one in probe.layers} for probe in probes]
    for layer in probes[0].layers:
        if layer.logit_std is not None:
            same = [other.get((layer.name, layer.function)) for other in others]
            cells = [_number(one.logit_std) if one else "" for one in same]
            cells += [_number(one.entropy) if one else "" for one in same]
            table.add_row(*_called(layer), *cells)
    return table


def _parameters(probes: Sequence[Probe]) -> Table:
    table = _table(("parameter",), _titles(("size", "gradient", "update"), probes))
    others = [{one.name: one for one in probe.parameters} for probe in probes]
    for name in others[0]:
        same = [other.get(name) for other in others]
        cells = [_number(one.rms) if one else "" for one in same]
        cells += [_number(one.gradient) if one else "" for one in same]
        cells += [_number(one.update) if one else "" for one in same]
        table.add_row(Text(one_line(name), "bold"), *cells)
    return table


def _titles(titles: Sequence[str], probes: Sequence[Probe]) -> list[str]:
    """The titles of columns, one for each probe where there are several."""
    if len(probes) == 1:
        return list(titles)
    return [f"{title} {letter}" for title in titles for letter in _LETTERS[: len(probes)]]


def _called(layer: LayerSignal) -> tuple[Text, str]:
    return Text(one_line(layer.name or "the model"), "bold"), layer.function


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
