"""What reads files and texts that anyone may have written, each with a source of hostile inputs.

A target makes one input from a random generator and hands it in, and says whether it was accepted.
What is refused must be refused with an error that a user can read; anything else comes through.
"""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from mutations import (
    WORDS,
    json_bytes,
    mutated_bytes,
    mutated_json,
    mutated_text,
    safetensors_bytes,
)
from safetensors.torch import save
from torch import nn

import initpolicy
from initpolicy import lockfile
from initpolicy.application import told
from initpolicy.expressions import Expression, ExpressionError
from initpolicy.plans import Plan
from initpolicy.policy import builtins, load
from initpolicy.policy.files import builtin_folder
from initpolicy.policy.glob import GlobError, NameSelector, TypeSelector, WordPattern
from initpolicy.policy.load import parse
from initpolicy.problems import InitPolicyError

Target = Callable[[Random, Path], bool]


@cache
def model() -> nn.Module:
    """Some modules that policies have rules for."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.Embedding(5, 4, padding_idx=1)
    )


LAWS = """
    format = 1
    extends = ["torch"]
    vars.n = { count = "*" }
    [[rule]]
    name = "2"
    init.weight = { fn = "orthogonal", gain = "sqrt(n)" }
    init.bias = { fn = "formula", value = "i / 4" }
    [[rule]]
    name = "0"
    init.weight = { fn = "trunc_normal", std = 0.1 }
"""


STEPS = """
    [[calibrate]]
    fn = "lsuv"
    name = "2"
    tolerance = 0.5
    [[calibrate]]
    fn = "autoencoder"
    type = "Linear"
    loss = "bernoulli"
    optional = true
"""


@cache
def plan() -> Plan:
    """A plan of laws of several kinds."""
    return initpolicy.plan(model(), parse(LAWS), seed=3)


@cache
def calibrated() -> Plan:
    """The same with steps that need data, whose digest is known."""
    return told(initpolicy.plan(model(), parse(LAWS + STEPS), seed=3), model(), "2,3,4,4")


@cache
def lock() -> str:
    """The lock of such a plan."""
    return lockfile.write(lockfile.lock(calibrated(), digests=True))


@cache
def policies() -> tuple[str, ...]:
    """The texts of the policies that are shipped."""
    folder = builtin_folder()
    return tuple((folder / f"{name}.toml").read_text(encoding="utf-8") for name in builtins())


@cache
def filled() -> dict[str, torch.Tensor]:
    """The values of the plan."""
    own = model()
    initpolicy.apply(own, plan())
    return {name: tensor.contiguous() for name, tensor in own.state_dict().items()}


def toml(random: Random, folder: Path) -> bool:
    """Policies, in every way that text may be wrong, and resolved if they load."""
    text = mutated_text(random, random.choice((LAWS, LAWS + STEPS, *policies())))
    if random.random() < 0.3:
        (folder / "policy.toml").write_bytes(
            mutated_bytes(random, text.encode("utf-8", "surrogatepass"))
        )
        loaded = refusing(load, folder / "policy.toml")
    else:
        loaded = refusing(parse, text)
    if loaded is not None:
        refusing(initpolicy.plan, model(), loaded)
    return loaded is not None


def expression(random: Random, folder: Path) -> bool:
    """Expressions, evaluated if they can be read."""
    pieces = [
        *WORDS,
        *[
            "fan_in",
            "shape",
            "[0]",
            "shape[9]",
            "+",
            "-",
            "*",
            "/",
            "//",
            "%",
            "**",
            "(",
            ")",
            "sqrt(",
            "log(",
            "exp(",
            "max(",
            ",",
            "where(",
            "<",
            "==",
            "and",
            "not",
            "1",
            "0",
            "0.5",
            "1e308",
            "9**9**9",
            "module.groups",
            "__class__",
            "weight.fan_in",
            "lambda:",
            "x",
            "if",
            "'relu'",
            "gain(",
        ],
    ]
    text = " ".join(random.choice(pieces) for _ in range(random.choice((1, 3, 6, 20, 200))))
    if random.random() < 0.3:
        text = mutated_text(random, "0.02 / sqrt(2 * fan_in) + max(shape[0], 3) ** 2 % 7")
    if random.random() < 0.1:
        text = random.choice("(-[") * random.choice((30, 300, 3000)) + text
    scope = {"fan_in": random.choice((0.0, 1.0, 1e308, -5.0)), "shape": (3, 0), "x": None}
    try:
        Expression.parse(text).evaluate(scope)
    except ExpressionError:
        return False
    return True


def glob(random: Random, folder: Path) -> bool:
    """Globs made of what is costly elsewhere, on names that nearly match."""
    pieces = (
        "*",
        "**",
        "?",
        ".",
        "a",
        "b",
        "{",
        ",",
        "}",
        "[ab]",
        "[!b]",
        "<i>",
        "0",
        "*a",
        "{a,}",
    )
    length = random.choice((1, 3, 8, 30, 200, 400))
    text = "".join(random.choice(pieces) for _ in range(length))
    name = "".join(random.choice("aab.0") for _ in range(random.choice((0, 5, 60, 600))))
    accepted = False
    for selector, matched in ((NameSelector, name), (TypeSelector, nn.Linear), (WordPattern, name)):
        try:
            selector.parse(text).match(matched)
            accepted = True
        except GlobError:
            pass
    return accepted


def plan_json(random: Random, folder: Path) -> bool:
    """Plans, carried out and judged if they can be read."""
    whole = random.choice((plan, calibrated))().to_json()
    data: Any = json_bytes(random, whole) if random.random() < 0.3 else mutated_json(random, whole)
    read = refusing(Plan.from_json, data)
    if read is None:
        return False
    assert Plan.from_json(read.to_json()) == read
    str(read)
    refusing(lockfile.lock, read, digests=False)
    refusing(initpolicy.apply, nn.Sequential(*model()), read, data=random.choice((None, "2,3,4,4")))
    refusing(initpolicy.verify, filled(), read, exact=random.random() < 0.5)
    return True


def lock_text(random: Random, folder: Path) -> bool:
    """Locks, compared with what they were and with values if they can be read."""
    text = mutated_text(random, lock())
    if random.random() < 0.3:
        (folder / "policy.lock").write_bytes(
            mutated_bytes(random, text.encode("utf-8", "surrogatepass"))
        )
        read = refusing(lockfile.read, folder / "policy.lock")
    else:
        read = refusing(lockfile.parse, text)
    if read is None:
        return False
    assert lockfile.parse(lockfile.write(read)) == read
    lockfile.differences(lockfile.parse(lock()), read)
    refusing(lockfile.check_values, read, filled())
    return True


@cache
def stored() -> tuple[Any, bytes]:
    """The header and the values of a checkpoint."""
    content = save(filled())
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors(random: Random, folder: Path) -> bool:
    """Checkpoints whose headers and lengths are wrong."""
    if random.random() < 0.5:
        content = safetensors_bytes(random, *stored())
    else:
        content = mutated_bytes(random, save(filled()))
    (folder / "model.safetensors").write_bytes(content)
    return read_checkpoint(random, folder / "model.safetensors")


def index(random: Random, folder: Path) -> bool:
    """Indexes of checkpoints, beside one of their files."""
    names = ["a.safetensors", "b.index.json", "../a.safetensors", "/etc/passwd", ".", "a.pt"]
    (folder / "a.safetensors").write_bytes(save(filled()))
    weights = dict.fromkeys(filled(), "a.safetensors")
    weights[random.choice(list(weights))] = random.choice(names)
    content = json_bytes(random, {"metadata": {"total_size": 1}, "weight_map": weights})
    (folder / "b.index.json").write_bytes(content)
    return read_checkpoint(random, folder / "b.index.json")


@cache
def pickled(legacy: bool) -> bytes:
    """The values as torch saves them."""
    content = io.BytesIO()
    torch.save(filled(), content, _use_new_zipfile_serialization=not legacy)
    return content.getvalue()


def pickle(random: Random, folder: Path) -> bool:
    """Checkpoints that torch saved, of both formats."""
    content = mutated_bytes(random, pickled(random.random() < 0.5))
    (folder / "model.pt").write_bytes(content)
    return read_checkpoint(random, folder / "model.pt")


def read_checkpoint(random: Random, file: Path) -> bool:
    """Read a checkpoint in one of the ways there are; all of it is what else is tried."""
    whole = refusing(initpolicy.digest, file)
    if random.random() < 0.3:
        refusing(initpolicy.verify, file, plan(), exact=random.random() < 0.5)
    if random.random() < 0.3:
        refusing(lockfile.check_values, lockfile.parse(lock()), file)
    if random.random() < 0.3:
        rule = {"fn": "from_file", "path": str(file), "key": "2.weight"}
        written = ", ".join(f"{key} = {json.dumps(value)}" for key, value in rule.items())
        own = nn.Sequential(*model())
        text = (
            f'format = 1\nextends = ["torch"]\n[[rule]]\nname = "2"\ninit.weight = {{ {written} }}'
        )
        refusing(initpolicy.apply, own, parse(text))
    return whole is not None


def refusing(read: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What `read` gives, or None if it refuses with problems of which each says something."""
    try:
        return read(*given, **named)
    except InitPolicyError as error:
        if not error.problems or not all(one.code and one.message for one in error.problems):
            raise AssertionError("it was refused without a reason") from error
        return None


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (toml, expression, glob, plan_json, lock_text, safetensors, index, pickle)
}


@dataclass
class Count:
    """What became of the inputs of one target."""

    inputs: int = 0
    accepted: int = 0
    failed: list[tuple[int, BaseException]] = field(default_factory=list)


def attack(name: str, seed: int, folder: Path, count: Count) -> None:
    """Hand one input in, and look that nothing was written beside what the target wrote."""
    before = set(os.listdir(folder))
    count.inputs += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count.accepted += TARGETS[name](Random(f"{name} {seed}"), folder)
        written = set(os.listdir(folder)) - before - WRITTEN
        assert not written, f"{written} was written"
    except Exception as error:
        count.failed.append((seed, error))


WRITTEN = {
    "policy.toml",
    "policy.lock",
    "model.safetensors",
    "model.pt",
    "a.safetensors",
    "b.index.json",
}
"""What targets themselves write."""
