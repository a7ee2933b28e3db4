"""Reports for people: tables and paragraphs, in colour on a terminal and plain everywhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from initpolicy.report import summary
from initpolicy.report.summary import count

if TYPE_CHECKING:
    from rich.table import Table

    from initpolicy.initializers import Initializer
    from initpolicy.model.facts import Facts
    from initpolicy.plans import Choice, Decision, Plan
    from initpolicy.policy import Policy
    from initpolicy.problems import Problem

# Where nobody looks at a window, nothing depends on its width.
_WITHOUT_WINDOW = 100_000
_MOST_NAMES = 4


def console(stream: TextIO) -> Console:
    """A console that adds no colour and breaks no line unless `stream` is a terminal."""
    made = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WITHOUT_WINDOW
    return made


def one_line(text: str) -> str:
    r"""Text from a user's files, without line breaks and characters that steer a terminal.

    >>> one_line("shapes differ:\n  3 and \x1b[31m4")
    'shapes differ: 3 and \\x1b[31m4'
    """
    joined = re.sub(r"\s*\n\s*", " ", text.strip())
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in joined
    )


def problems(found: Iterable[Problem], to: Console) -> None:
    """One line for each problem, the place first so that editors can jump to it."""
    for problem in found:
        _print_problem(problem, "", to)


def _print_problem(problem: Problem, before: str, to: Console) -> None:
    line = Text(before)
    if problem.location is not None:
        line.append(f"{one_line(str(problem.location))}: ", "bold")
    line.append(problem.code, "yellow" if problem.severity == "warning" else "red")
    line.append(f" {one_line(problem.message)}")
    if problem.hint:
        line.append(f"; {one_line(problem.hint)}", "green")
    to.print(line, soft_wrap=True)


def plan(decided: Plan, to: Console) -> None:
    """Every tensor that gets values, one a line, and then the summary."""
    _print_title(decided, to)
    table = _table("tensor", "shape", "type", "begins as", "because")
    for decision in decided.given:
        table.add_row(
            Text(one_line(decision.name), "bold"),
            _shape(decision.shape),
            decision.dtype,
            Text(decision.begins_as, "cyan"),
            _because(decision.winner),
        )
    if decided.given:
        # Folded cells would make one tensor many lines: a narrow window wraps what is too long.
        _print_table(table, to, width=_WITHOUT_WINDOW)
        to.print()
    to.print(f"It would fill {summary.totals(decided)}.", soft_wrap=True)
    _print_steps(decided, to)
    room = summary.room(decided)
    if room:
        to.print(
            f"If it is sharded, each process takes up to {summary.in_bytes(room)} more for a "
            "while, for tensors that are made whole.",
            soft_wrap=True,
        )
    _print_leftovers(decided, to)
    _print_warnings(decided.warnings, to)


def applied(decided: Plan, seconds: float, saved: tuple[str, int] | None, to: Console) -> None:
    """What each rule gave, how much it was, what was left, and where it is.

    `saved` is a file with its size in bytes.
    """
    _print_title(decided, to)
    table = _table("", "begins as", "tensors", "values")
    table.columns[2].justify = table.columns[3].justify = "right"
    last = None
    for share in summary.shares(decided):
        if share.rule != last:
            table.add_row(Text(one_line(share.rule), "bold"))
            last = share.rule
        begins = Text(share.law, "cyan")
        if share.initializer != f"constant(val={share.law})":  # a constant is its own law
            begins.append(f"\n{one_line(share.initializer)}", "dim")
        table.add_row(
            Padding(_listed(share.names), (0, 0, 0, 2)),
            begins,
            f"{len(share.decisions):,}",
            f"{share.values:,}",
        )
    if decided.given:
        _print_table(table, to)
        to.print()
    to.print(f"Filled {summary.totals(decided)} in {seconds:.2f} s.", soft_wrap=True)
    _print_steps(decided, to)
    _print_leftovers(decided, to)
    _print_warnings(decided.warnings, to)
    if saved is None:
        to.print("Nothing was saved; `--out FILE` keeps the values.", soft_wrap=True)
    else:
        file, size = saved
        to.print(
            Text.assemble("Saved ", (one_line(file), "bold"), f", {summary.in_bytes(size)}."),
            soft_wrap=True,
        )


def explanation(
    decision: Decision,
    facts: Facts,
    fans: tuple[int, int] | None,
    steps: tuple[str, ...],
    to: Console,
) -> None:
    """One tensor: what it is, what it begins with, and what every rule said of it."""
    to.print(Text(one_line(decision.name), "bold"), soft_wrap=True)
    what = f"{decision.kind} of a {decision.module_type}, {_shape(facts.shape)} {facts.dtype}"
    if fans is not None:
        what += f", fan_in {fans[0]}, fan_out {fans[1]}"
    rows: list[tuple[str, Text]] = [("is", Text(what))]
    if decision.aliases:
        rows.append(("is also", Text(one_line(", ".join(decision.aliases)))))
    rows.append(("begins as", Text(decision.begins_as, "cyan")))
    if decision.winner is None:
        rows.append(("because", Text("no rule covers it")))
    else:
        rows.append(("because", _choice(decision.winner)))
    rows += [
        ("and not" if number else "not", _choice(c)) for number, c in enumerate(decision.losers)
    ]
    if decision.stream:
        rows.append(("drawn as", Text(one_line(decision.stream))))
    if steps:
        rows.append(("then", Text(", ".join(steps), "cyan")))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        to.print(Text.assemble(f"  {label:<{width}}  ", value), soft_wrap=True)


def policies(found: Iterable[tuple[str, Policy]], to: Console) -> None:
    """The built-in policies, one a line."""
    table = _table("policy", "title", "source")
    for name, policy in found:
        table.add_row(Text(name, "bold"), policy.title, policy.source)
    _print_table(table, to)


def initializers(found: Iterable[Initializer], to: Console) -> None:
    """The initializers, one a line."""
    table = _table("initializer", "what it gives")
    for initializer in found:
        table.add_row(Text(initializer.name, "bold"), initializer.summary)
    _print_table(table, to)


def initializer(shown: Initializer, documentation: str, to: Console) -> None:
    """The documentation of one initializer, with its arguments."""
    to.print(Text(shown.name, "bold"))
    to.print()
    to.print(Text(documentation), soft_wrap=True)
    if not shown.parameters:
        return
    to.print()
    table = _table("argument", "write", "default")
    for parameter in shown.parameters:
        default = "required" if parameter.required else _toml(parameter.default)
        table.add_row(Text(parameter.name, "bold"), parameter.accepts, default)
    _print_table(table, to)


def raw(text: str, to: Console) -> None:
    """A text as it is, without a change."""
    to.file.write(text if text.endswith("\n") else f"{text}\n")


def page(markdown: str, to: Console) -> None:
    """A page of documentation: rendered on a terminal, as Markdown elsewhere."""
    if not to.is_terminal:
        raw(markdown, to)
        return
    from rich.markdown import Markdown

    to.print(Markdown(markdown, hyperlinks=False))


@contextmanager
def progress(
    total: int, to: Console, doing: str = "filling"
) -> Generator[Callable[[int], None] | None, None, None]:
    """A bar of bytes while values are written or read; none where nobody would see it move."""
    if not to.is_terminal or total == 0:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=to, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda written: bar.advance(task, written)


def _table(*headers: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _print_table(table: Table, to: Console, width: int | None = None) -> None:
    options = to.options if width is None else to.options.update_width(width)
    for segments in to.render_lines(table, options, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()  # cells are padded to the width of their column, also at the end of a line
        to.print(line, soft_wrap=True)


def _print_title(decided: Plan, to: Console) -> None:
    title = one_line(decided.title or decided.policy)
    to.print(Text.assemble((title, "bold"), f", seed {decided.seed}"), soft_wrap=True)
    parts = [decided.policy if decided.title else "", decided.source]
    origin = ": ".join(one_line(part) for part in parts if part)
    if origin:
        to.print(Text(origin, "dim"), soft_wrap=True)
    to.print()


def _print_steps(decided: Plan, to: Console) -> None:
    for step in decided.steps:
        place = (one_line(str(step.location)), "dim")
        line = Text.assemble("Then ", (one_line(str(step)), "cyan"), "  ", place)
        to.print(line, soft_wrap=True)
        for result in step.results:
            to.print(Text(f"  {one_line(result)}"), soft_wrap=True)


def _print_leftovers(decided: Plan, to: Console) -> None:
    left = summary.leftovers(decided)
    if not left:
        to.print("Every tensor is filled." if decided.decisions else "The model has no tensors.")
        return
    number = sum(len(group.decisions) for group in left)
    to.print(f"Left as {'it is' if number == 1 else 'they are'}: {count(number, 'tensor')}.")
    for group in left:
        found = group.decisions
        if len(found) <= _MOST_NAMES:
            what = f"{', '.join(decision.name for decision in found)} ({group.module_type})"
        else:
            what = (
                f"{_listed(group.names)} of {group.module_type} ({count(len(found), group.kind)})"
            )
        to.print(Text(f"  {one_line(f'{what}: {group.reason}')}"), soft_wrap=True)


def _print_warnings(found: Sequence[Problem], to: Console) -> None:
    if found:
        to.print(f"{count(len(found), 'warning')}:")
    for problem in found:
        _print_problem(problem, "  ", to)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return one_line(f"{shown} and {more} more" if more > 0 else shown)


def _because(winner: Choice | None) -> Text:
    if winner is None:
        return Text("")
    place = (one_line(str(winner.location)), "dim")
    return Text.assemble(place, "  ", one_line(winner.initializer))


def _choice(choice: Choice) -> Text:
    place = (one_line(str(choice.location)), "bold")
    return Text.assemble(place, "  ", one_line(f"{choice.rule}: {choice.initializer}"))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"
