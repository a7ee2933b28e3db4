"""The signals of a model, for people: layer by layer, and of two policies side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from initpolicy.report.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from initpolicy.signals import LayerSignal, ParameterSignal, Probe

_MOST = 12

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
        for probe in probes:
            to.print()
            _print(_parameters(probe.parameters), to)
    for probe in probes:
        to.print()
        for number, line in enumerate(probe.lines(_MOST)):
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
    letters = "ABCDEFGH"
    titles = [f"{title} {letters[n]}" for title, _ in columns for n in range(len(probes))]
    table = _table(("layer", "function"), titles)
    others = [{(one.name, one.function): one for one in probe.layers} for probe in probes]
    for layer in probes[0].layers:
        same = [other.get((layer.name, layer.function)) for other in others]
        cells = [value(one) if one else "" for _, value in columns for one in same]
        table.add_row(*_called(layer), *cells)
    return table


def _attention(probes: Sequence[Probe]) -> Table:
    table = _table(("layer", "attention"), ["logit std", "entropy"] * len(probes))
    others = [{(one.name, one.function): one for one in probe.layers} for probe in probes]
    for layer in probes[0].layers:
        if layer.logit_std is not None:
            same = [other.get((layer.name, layer.function)) for other in others]
            cells = [
                _number(value) for one in same if one for value in (one.logit_std, one.entropy)
            ]
            table.add_row(*_called(layer), *cells)
    return table


def _parameters(found: Sequence[ParameterSignal]) -> Table:
    table = _table(("parameter",), ("size", "gradient", "update"))
    for one in found:
        name = Text(one_line(one.name), "bold")
        table.add_row(name, _number(one.rms), _number(one.gradient), _number(one.update))
    return table


def _called(layer: LayerSignal) -> tuple[Text, str]:
    return Text(one_line(layer.name or "the model"), "bold"), layer.function


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
