"""Write the page of each initializer, `docs/initializers/NAME.md`, and its picture.

The text follows from the docstrings; the pictures need matplotlib. `make docs` runs this.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import initpolicy
from initpolicy import initializers
from initpolicy.cli.showing import documentation
from initpolicy.initializers.initializer import Parameter
from initpolicy.laws import Constant, Drawn, FromFile, Law, Stratified
from initpolicy.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "initializers"
SEED = 0

INK, QUIET, FILL, LINE = "#24292f", "#8c959f", "#9ec5e8", "#c2410c"


class Attention(nn.Module):
    """The projections to queries and keys of an attention layer."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(48, 48, bias=False)
        self.k = nn.Linear(48, 48, bias=False)


@dataclass(frozen=True)
class Example:
    """A model, in words and made, and what a policy says of its weight.

    `also` is a further rule, and `shown` is how the picture lays out the weight.
    """

    model: str
    module: str
    value: str
    shown: str = "values"
    tensor: str = "weight"
    name: str = ""
    also: str = ""

    def make(self) -> nn.Module:
        """Make the model."""
        if self.module == "Attention":
            return Attention()
        numbers = [int(number) for number in self.model.partition("(")[2].rstrip(")").split(", ")]
        return getattr(nn, self.module)(*numbers, bias=False)

    @property
    def policy(self) -> str:
        """The text of the policy."""
        selector = f'name = "{self.name}"' if self.name else f'type = "{self.module}"'
        bias = "" if self.also else "init.bias = 0\n"
        rule = f"[[rule]]\n{selector}\ninit.weight = {self.value}\n{bias}"
        return f"format = 1\n\n{rule}{self.also}"


def _large(value: str, shown: str = "values") -> Example:
    return Example("nn.Linear(256, 128)", "Linear", value, shown)


def _matrix(value: str, shown: str = "matrix", columns: int = 48, rows: int = 32) -> Example:
    return Example(f"nn.Linear({columns}, {rows})", "Linear", value, shown)


def _kernel(value: str, inputs: int = 8, outputs: int = 16) -> Example:
    return Example(f"nn.Conv2d({inputs}, {outputs}, 3)", "Conv2d", value, "kernel")


EXAMPLES = {
    "constant": _large('{ fn = "constant", val = 0.5 }'),
    "dct": _matrix('"dct"', "rows"),
    "delta_orthogonal": _kernel('"delta_orthogonal"'),
    "dirac": _kernel('{ fn = "dirac", groups = 2 }'),
    "eye": _matrix('"eye"'),
    "formula": _matrix('{ fn = "formula", value = "exp(-abs(i0 - i1) / 8) * (1 + 0.2 * z)" }'),
    "fourier": _matrix('"fourier"', "rows"),
    "frame": _matrix('"frame"', "rows", columns=16, rows=48),
    "from_file": _matrix('{ fn = "from_file", path = "net.safetensors", key = "fc.weight" }', ""),
    "haar": _matrix('"haar"', "rows"),
    "hadamard": _matrix('"hadamard"', columns=32, rows=48),
    "identity": _matrix('{ fn = "identity", gain = 2.0 }'),
    "kaiming_normal": _large(
        '{ fn = "kaiming_normal", mode = "fan_out", nonlinearity = "relu" }',
    ),
    "kaiming_uniform": _large('{ fn = "kaiming_uniform", nonlinearity = "relu" }'),
    "lecun_normal": _large('"lecun_normal"'),
    "lecun_uniform": _large('"lecun_uniform"'),
    "mimetic": Example(
        "`q`, which is an `nn.Linear(48, 48)` as `k` is,",
        "Attention",
        '{ fn = "mimetic", part = "q", alpha = 0.5, beta = 0.7, stream = "qk" }',
        "product",
        tensor="q.weight",
        name="**.q",
        also='\n[[rule]]\nname = "**.k"\n'
        'init.weight = { fn = "mimetic", part = "k", alpha = 0.5, beta = 0.7, stream = "qk" }\n',
    ),
    "normal": _large('{ fn = "normal", std = 0.02 }'),
    "ones": _large('"ones"'),
    "orthogonal": _matrix('{ fn = "orthogonal", gain = \'gain("relu")\' }', "rows"),
    "sparse": _matrix('{ fn = "sparse", sparsity = 0.8 }'),
    "stratified_normal": _matrix('{ fn = "stratified_normal", std = 0.02 }', "both"),
    "stratified_uniform": _matrix('{ fn = "stratified_uniform", a = -0.1, b = 0.1 }', "both"),
    "trunc_normal": _large('{ fn = "trunc_normal", std = 0.02, cut = 2 }'),
    "uniform": _large('{ fn = "uniform", a = -0.1, b = 0.1 }'),
    "variance_scaling": _large(
        '{ fn = "variance_scaling", scale = 2.0, mode = "fan_avg", '
        'distribution = "truncated_normal" }',
    ),
    "xavier_normal": _large('"xavier_normal"'),
    "xavier_uniform": _large('{ fn = "xavier_uniform", gain = \'gain("tanh")\' }'),
    "zeros": _large('"zeros"'),
}


@contextmanager
def loaded(name: str) -> Iterator[Policy]:
    """Load the policy of a page in a folder that has the file it may take tensors from."""
    with tempfile.TemporaryDirectory() as folder:
        save_file({"fc.weight": torch.zeros(32, 48)}, Path(folder) / "net.safetensors")
        file = Path(folder) / "policy.toml"
        file.write_text(EXAMPLES[name].policy, encoding="utf-8")
        yield initpolicy.load(file)


def law(name: str) -> Law:
    """Give the law of the weight of a page's example."""
    example = EXAMPLES[name]
    with loaded(name) as policy:
        found = initpolicy.plan(example.make(), policy)[example.tensor].law
    assert found is not None
    return found


def law_text(name: str) -> str:
    """Give that law as a person reads it, a file by its bare name."""
    found = law(name)
    if isinstance(found, FromFile):
        found = replace(found, path=Path(found.path).name)
    return str(found)


def page(name: str) -> str:
    """Give the text of the page of one initializer."""
    shown = initializers.get(name)
    example = EXAMPLES[name]
    parts = [f"# `{name}`", documentation(shown), "## Arguments", _arguments(shown.parameters)]
    parts += [
        "Like every initializer it also takes those of\n"
        "[the policy language](../language.md#what-a-tensor-begins-with).",
        "## Example",
        f"```toml\n{example.policy}```",
        f"The weight of {_model(example)} then follows\n"
        f"`{law_text(name)}`. It gets its values from\n"
        f'`initpolicy.apply(model, "policy.toml", seed={SEED})`.',
        "## What it draws",
    ]
    if example.shown:
        parts += [f"![{_alternative(name)}]({name}.svg)", _caption(name)]
    else:
        parts += ["There is no picture: the values are those of the file, whatever they are."]
    return "\n\n".join([*parts, "[All initializers](README.md)"]) + "\n"


def index() -> str:
    """Give the text of the page that lists the others."""
    rows = "\n".join(
        f"| [`{name}`]({name}.md) | {_cell(initializers.get(name).summary)} |"
        for name in initializers.names()
    )
    return (
        "# Initializers\n\n"
        "What a policy may write for a tensor, each with its formula, its source, its arguments,\n"
        "an example, and a picture of what it draws. How values are written is in\n"
        "[the policy language](../language.md#what-a-tensor-begins-with).\n\n"
        f"| initializer | values |\n| --- | --- |\n{rows}\n"
    )


def texts() -> dict[str, str]:
    """Give the text of every file of Markdown, by its name."""
    return {f"{name}.md": page(name) for name in initializers.names()} | {"README.md": index()}


def _arguments(parameters: tuple[Parameter, ...]) -> str:
    if not parameters:
        return "It has no arguments of its own."
    rows = [
        f"| `{item.name}` | {_cell(_accepted(item))} | {_default(item)} |" for item in parameters
    ]
    return "\n".join(["| argument | write | default |", "| --- | --- | --- |", *rows])


def _accepted(item: Parameter) -> str:
    if item.choices:
        return "one of " + ", ".join(f'`"{choice}"`' for choice in item.choices)
    return item.accepts


def _default(item: Parameter) -> str:
    if item.required:
        return "required"
    return "not given" if item.default is None else f"`{json.dumps(item.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _model(example: Example) -> str:
    return example.model if "`" in example.model else f"`{example.model}`"


def _alternative(name: str) -> str:
    kinds = {
        "values": "Histogram of the values",
        "matrix": "The weight as an image",
        "rows": "The weight and the products of its rows as images",
        "kernel": "The weight as an image for each position of the kernel",
        "product": "The two weights and their product as images",
        "both": "The weight as an image, and the histogram of its values",
    }
    return kinds[EXAMPLES[name].shown]


def _caption(name: str) -> str:
    example = EXAMPLES[name]
    match example.shown:
        case "values" if isinstance(law(name), Constant):
            return "Every value of the weight above is the same."
        case "values":
            return (
                "The bars are the values of the weight above, the line is the exact density of the "
                "law."
            )
        case "both":
            return (
                "On the left is the weight above, a row of the image for each output; on the right "
                "are its\nvalues, and the exact density of the law that they are quantiles of."
            )
        case "rows":
            return (
                "On the left is the weight above, a row of the image for each output; on the right "
                "are the\nproducts of each two of its rows."
            )
        case "kernel":
            return (
                "Each image is one position of the kernel of the weight above, outputs downwards "
                "and inputs\nto the right."
            )
        case "product":
            return "The products of the columns of the two weights, on the right, are near 0.7 I."
        case _:
            return "The image is the weight above, with a row for each output."


def picture(name: str) -> Figure:
    """Draw the picture of one initializer."""
    from matplotlib.figure import Figure

    example = EXAMPLES[name]
    model = example.make()
    with loaded(name) as policy:
        initpolicy.apply(model, policy, seed=SEED)
    weights = {key: tensor.detach().double().numpy() for key, tensor in model.named_parameters()}
    weight, found = weights[example.tensor], law(name)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor="white")
    match example.shown:
        case "values":
            _histogram(figure.subplots(), weight, found, str(found))
        case "both":
            left, right = figure.subplots(1, 2)
            _image(left, weight, str(found))
            assert isinstance(found, Stratified)
            _histogram(right, weight, found.law, "its values")
        case "rows":
            left, right = figure.subplots(1, 2)
            _image(left, weight, str(found))
            _image(right, weight @ weight.T, "products of rows")
        case "kernel":
            _kernel_images(figure, weight)
        case "product":
            first, second, third = figure.subplots(1, 3)
            query, key = weights["q.weight"], weights["k.weight"]
            _image(first, query, "W_q")
            _image(second, key, "W_k")
            _image(third, query.T @ key, "product")
        case _:
            _image(figure.subplots(), weight, str(found))
    return figure


def _histogram(axes: Axes, weight: np.ndarray[Any, Any], found: Law, title: str) -> None:
    values = weight.ravel()
    if isinstance(found, Constant):
        low, high = found.value - 1, found.value + 1
        axes.bar([found.value], [1.0], width=0.02, color=LINE)
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.1)
        axes.set_ylabel("share of values", color=INK)
    else:
        assert isinstance(found, Drawn)
        spread = float(np.abs(values - values.mean()).max())
        low, high = values.mean() - 1.15 * spread, values.mean() + 1.15 * spread
        inner = (float(values.min()), float(values.max()))
        count = 60 if values.size > 10_000 else 30
        axes.hist(values, bins=count, range=inner, density=True, color=FILL, edgecolor="none")
        edges = np.linspace(low, high, 801)
        density = np.diff(found.cdf(edges)) / np.diff(edges)
        axes.plot((edges[:-1] + edges[1:]) / 2, density, color=LINE, linewidth=1.4)
        axes.set_ylabel("density", color=INK)
    axes.set_title(title, color=INK, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=8)


def _image(axes: Axes, matrix: np.ndarray[Any, Any], title: str, limit: float = 0.0) -> Any:
    limit = limit or float(np.abs(matrix).max()) or 1.0
    shown = axes.imshow(
        matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none", aspect="equal"
    )
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(QUIET)
    if axes.figure is not None:
        bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.ax.tick_params(labelsize=7, labelcolor=INK, color=QUIET)
        bar.outline.set_visible(False)  # type: ignore[union-attr]
    return shown


def _kernel_images(figure: Figure, weight: np.ndarray[Any, Any]) -> None:
    limit = float(np.abs(weight).max())
    figure.set_size_inches(5.2, 5.2)
    for row, line in enumerate(figure.subplots(3, 3)):
        for column, axes in enumerate(line):
            part = weight[:, :, row, column]
            shown = axes.imshow(
                part, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none", aspect="equal"
            )
            axes.set_title(f"[{row}, {column}]", color=INK, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color(QUIET)
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.6)
    bar.ax.tick_params(labelsize=7, labelcolor=INK, color=QUIET)
    bar.outline.set_visible(False)  # type: ignore[union-attr]


def main() -> None:
    """Write every page and every picture."""
    import matplotlib

    matplotlib.rcParams.update({"svg.hashsalt": "initpolicy", "svg.fonttype": "none"})
    FOLDER.mkdir(exist_ok=True)
    for file, text in texts().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
    for name in initializers.names():
        if EXAMPLES[name].shown:
            metadata = {"Date": None, "Creator": None}
            picture(name).savefig(FOLDER / f"{name}.svg", metadata=metadata)


if __name__ == "__main__":
    main()
