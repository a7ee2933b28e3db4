"""The experiments run, and what they measure is what it is called."""

import importlib
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "examples" / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
NAMES = ["all_the_same", "deep_chain", "first_layer", "matrix_products", "signals_over_depth"]
all_the_same, deep_chain, first_layer, matrix_products, signals_over_depth = (
    importlib.import_module(name) for name in NAMES
)
cifar = importlib.import_module("cifar")
common = importlib.import_module("common")

TINY = {
    "all_the_same": ["--steps", "3", "--seeds", "1"],
    "deep_chain": [
        "--depth",
        "4",
        "--width",
        "8",
        "--steps",
        "3",
        "--seeds",
        "1",
        "--rates",
        "0.01",
    ],
    "first_layer": ["--filters", "4", "--steps", "3", "--seeds", "2"],
    "matrix_products": ["--width", "8", "--depth", "12", "--seeds", "2"],
    "signals_over_depth": ["--width", "8", "--depth", "3", "--seeds", "1"],
}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_experiment_is_tested_documented_and_made():
    scripts = {file.stem for file in EXPERIMENTS.glob("*.py")} - {"common", "cifar"}
    assert scripts == set(NAMES)
    document = (ROOT / "docs" / "experiments.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for name in NAMES:
        assert f"python examples/experiments/{name}.py" in document
        assert f"examples/experiments/{name}.py" in makefile
        figure = name.replace("_", "-") + ".svg"
        assert f"](experiments/{figure})" in document
        assert (ROOT / "docs" / "experiments" / figure).stat().st_size < 200_000


def tables(text):
    """Give the cells of the tables of a text, without the lines under their heads."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and "---" not in line
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_prints_tables_and_saves_its_figure(name, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    sys.modules[name].main([*TINY[name], "--out", str(tmp_path / "a.svg")])
    first = capsys.readouterr().out
    assert len(tables(first)) >= 4
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    sys.modules[name].main([*TINY[name], "--out", str(tmp_path / "b.svg")])
    assert capsys.readouterr().out == first.replace("a.svg", "b.svg")
    assert (tmp_path / "b.svg").read_bytes() == (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    "file", sorted((EXPERIMENTS / "policies").glob("*.toml")), ids=lambda f: f.stem
)
def test_every_policy_loads_and_is_used(file):
    initpolicy.load(file)
    texts = [script.read_text() for script in EXPERIMENTS.glob("*.py")]
    parents = [
        parent
        for other in (EXPERIMENTS / "policies").glob("*.toml")
        for parent in re.findall(r'^extends = \["(.*)"\]', other.read_text(), re.M)
    ]
    assert file.name in parents or any(f'"{file.stem}"' in text for text in texts)


def test_sizes_are_those_of_the_product_of_the_matrices():
    for way in matrix_products.WAYS:
        chain = common.Chain(8, 5)
        policy, variables = matrix_products.WAYS[way]
        common.initialize(chain, policy, 3, **variables)
        product = torch.linalg.multi_dot([layer.weight.detach().T for layer in chain.layers])
        vectors = torch.randn(64, 8, generator=torch.Generator().manual_seed(3))
        expected = float((vectors @ product).norm()) / (64 * 8) ** 0.5
        assert matrix_products.sizes(way, 8, 5, 3)[-1] == pytest.approx(expected, rel=1e-4)


def test_the_scales_are_those_that_the_experiments_name():
    chain = common.Chain(64, 40)
    for way, std in {"std 1": 1, "std 0.01": 0.01, "std 0.9 / sqrt(n)": 0.9 / 8}.items():
        policy, variables = matrix_products.WAYS[way]
        common.initialize(chain, policy, 0, **variables)
        weights = torch.stack([layer.weight.detach() for layer in chain.layers])
        assert float(weights.std()) == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("activation", list(signals_over_depth.ACTIVATIONS))
def test_gradients_over_depth_are_derivatives(activation):
    """Against the chain rule, written out with the derivative of each activation."""
    chain = common.Chain(6, 3, signals_over_depth.ACTIVATIONS[activation]).double()
    common.initialize(chain, "kaiming", 5)
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(256, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        signals = chain.signals(inputs)
        back = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
        expected = [float(back.std())]
        for layer, signal in zip(list(chain.layers)[:0:-1], signals[:0:-1], strict=True):
            slope = {
                "tanh": 1 - signal**2,
                "sigmoid": signal * (1 - signal),
                "ReLU": (signal > 0).double(),
            }[activation]
            back = (back * slope) @ layer.weight
            expected.insert(0, float(back.std()))
    forwards, backwards = signals_over_depth.measure(activation, "Kaiming", 6, 3, 5)
    assert forwards == pytest.approx([float(signal.std()) for signal in signals])
    assert backwards == pytest.approx(expected)


@pytest.mark.parametrize("policy", list(deep_chain.POLICIES))
def test_singular_values_are_those_of_the_jacobian(policy):
    model = deep_chain.Deep(9, 7, 5)
    common.initialize(model, deep_chain.POLICIES[policy], 2)
    image = torch.randn(9, generator=torch.Generator().manual_seed(0))
    model = model.double()
    start = model.input(image.double()).detach()
    jacobian = torch.autograd.functional.jacobian(model.chain, start)
    found = deep_chain.singular_values(model, image.double())
    assert len(found) == 5
    torch.testing.assert_close(found[-1], torch.linalg.svdvals(jacobian), rtol=1e-9, atol=1e-12)


def test_only_the_chain_differs_between_its_policies():
    models = {policy: deep_chain.Deep(9, 7, 3) for policy in deep_chain.POLICIES}
    for policy, model in models.items():
        common.initialize(model, deep_chain.POLICIES[policy], 0)
    a, b = models.values()
    assert torch.equal(a.input.weight, b.input.weight)
    assert torch.equal(a.output.weight, b.output.weight)
    weight = b.chain.layers[1].weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(7), rtol=0, atol=1e-5)


@pytest.mark.parametrize("filters", [4, 9, 24])
def test_first_layers_are_of_one_size_and_the_rest_is_alike(filters):
    rests = []
    for title, policy in first_layer.POLICIES.items():
        net = first_layer.Net(filters, 8)
        common.initialize(net, policy, 1)
        square = float(net.first.weight.detach().flatten(1).square().sum(dim=1).mean())
        # a sum of filters * 9 squares of normal values; the others are exact
        tolerance = 5 * (2 / (filters * 9)) ** 0.5 if title == "random" else 1e-4
        assert square == pytest.approx(2, rel=tolerance)
        rests.append([net.hidden.weight.detach(), net.last.weight.detach()])
    for rest in rests[1:]:
        assert all(torch.equal(a, b) for a, b in zip(rest, rests[0], strict=True))


def test_the_largest_cosine_leaves_out_the_filter_itself():
    weight = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]).view(3, 1, 1, 2)
    assert first_layer.largest_cosine(weight) == pytest.approx(0.5**0.5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_distinct_units_are_counted_as_a_set_counts_them(rows):
    weight = torch.tensor(rows, dtype=torch.float32).unsqueeze(1)
    assert all_the_same.distinct(weight) == len(set(rows))


@pytest.mark.parametrize(("channels", "side", "features"), [(3, 32, 400), (1, 8, 64)])
def test_the_network_of_the_tutorial_has_its_size(channels, side, features):
    net = all_the_same.Net(channels, side)
    assert net.fc1.in_features == features
    assert net(torch.zeros(2, channels, side, side)).shape == (2, 10)


def test_equal_parameters_stay_equal():
    images = common.digits()
    _, _, net = all_the_same.run("constant", 0, images, common.Training(20, 4, 0.01))
    layers = [net.conv1, net.conv2, net.fc1, net.fc2, net.fc3]
    assert [all_the_same.distinct(layer.weight) for layer in layers] == [1, 1, 1, 1, 10]


def test_digits_are_split_once_and_standardized():
    images = common.digits()
    assert (len(images.train), len(images.test)) == (1348, 449)
    assert float(images.train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.train.std()) == pytest.approx(1, abs=1e-5)
    assert set(images.test_classes.tolist()) == set(range(10))


def test_training_steps_as_sgd_does_and_stops_where_a_loss_is_not_finite():
    whole = common.digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    common.initialize(model, "kaiming", 0)
    losses = common.train(model, whole, common.Training(60, 32, 0.05))
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert common.accuracy(model, whole.test, whole.test_classes) > 80
    with torch.no_grad():
        model[1].bias[0] = float("inf")
    assert len(common.train(model, whole, common.Training(5, 32, 0.05))) == 1


def records(count):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    return images, random.integers(0, 10, count)


class Runs:
    """What a pickle must not do."""

    def __init__(self, function, argument):
        self.how = function, (argument,)

    def __reduce__(self):
        return self.how


def written(folder, protocol=2):
    """Write a small CIFAR-10 in both versions."""
    for inner in ("binary", "cifar-10-batches-py"):
        (folder / inner).mkdir()
    for name in (*cifar.TRAIN, *cifar.TEST):
        images, classes = records(6)
        rows = np.concatenate([classes[:, None].astype(np.uint8), images], axis=1)
        (folder / "binary" / f"{name}.bin").write_bytes(rows.tobytes())
        content = {b"data": images, b"labels": classes.tolist(), b"batch_label": b"one"}
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol))
    return folder


@pytest.mark.parametrize("protocol", [2, 4])
def test_both_versions_of_cifar_give_the_same_images(protocol, tmp_path):
    written(tmp_path, protocol)
    found = [cifar.cifar10(tmp_path / "binary"), cifar.cifar10(tmp_path)]
    images, classes = records(6)
    expected = torch.tensor(images).view(6, 3, 32, 32).double() / 255
    for one in found:
        assert one.train.shape == (30, 3, 32, 32)
        assert one.test_classes.tolist() == classes.tolist()
        pixels = (expected - expected.mean()) / expected.repeat(5, 1, 1, 1).std()
        torch.testing.assert_close(one.test.double(), pixels, rtol=0, atol=1e-5)


def test_the_experiment_runs_on_cifar_and_both_versions_print_the_same(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    written(tmp_path)
    few = ["--steps", "2", "--seeds", "1", "--out", str(tmp_path / "a.svg")]
    all_the_same.main(["--cifar", str(tmp_path / "binary"), *few])
    first = capsys.readouterr().out
    assert first.startswith("CIFAR-10: 2 steps of SGD, batch 4, rate 0.001, momentum 0.9; 1 seeds")
    all_the_same.main(["--cifar10", str(tmp_path), *few])
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("folder", ["binary", "cifar-10-batches-py"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda file: file.unlink(), r"{folder} lacks {name}, one of the six files of CIFAR-10"),
        (lambda file: file.write_bytes(b""), r"{name} is not a file of CIFAR-10, or is damaged: "),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-7]),
            r"{name} is not a file of CIFAR-10, or is damaged: ",
        ),
        (
            lambda file: file.write_bytes(b"<html>404</html>"),
            r"{name} is not a file of CIFAR-10, or is damaged: ",
        ),
        (lambda file: (file.unlink(), file.mkdir()), r"{name} cannot be read: Is a directory"),
    ],
    ids=["missing", "empty", "cut", "page", "folder"],
)
def test_a_folder_that_is_damaged_ends_the_program_with_what_is_wrong(
    folder, damage, told, tmp_path
):
    written(tmp_path)
    (file,) = (tmp_path / folder).glob("data_batch_3*")
    damage(file)
    expected = told.format(folder=folder, name=re.escape(file.name))
    with pytest.raises(SystemExit, match=expected) as caught:
        cifar.cifar10(tmp_path / folder)
    assert "\n" not in str(caught.value)


def test_pickles_of_python_2_are_read():
    """As Python 2 writes them: text as bytes, numpy by its old name."""
    images, classes = records(2)
    body = (
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K%cK%ceU\x04dataq\x04"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    )
    body = body.replace(b"K%cK%c", bytes([75, classes[0], 75, classes[1]]))
    read, labels = cifar.pickled(body + (6144).to_bytes(4, "little") + images.tobytes() + b"tbu.")
    assert labels.tolist() == classes.tolist()
    assert torch.equal((read * 255).round().to(torch.uint8).flatten(1), torch.tensor(images))


@pytest.mark.parametrize(
    ("found", "named"),
    [(Runs(os.system, "exit 1"), "posix.system"), (Runs(eval, "1 + 1"), "builtins.eval")],
)
def test_a_pickle_that_would_run_something_is_an_error(found, named):
    content = pickle.dumps({"data": found, "labels": []})
    with pytest.raises(
        ValueError, match=f"the pickle names {named}, which no array of bytes needs"
    ):
        cifar.pickled(content)


def test_arrays_that_are_not_cifar_are_errors(tmp_path):
    images, classes = records(3)
    with pytest.raises(ValueError, match=r"data is uint8 \(2, 3072\), not uint8 \(3, 3072\)"):
        cifar.pickled(pickle.dumps({"data": images[:2], "labels": classes.tolist()}))
    with pytest.raises(ValueError, match="a class is not 0 to 9"):
        cifar.pickled(pickle.dumps({"data": images, "labels": [0, 1, 10]}))
    with pytest.raises(ValueError, match="100 bytes are not whole records of 3073"):
        cifar.binary(bytes(100))
    with pytest.raises(SystemExit, match=r"neither test_batch.bin nor test_batch of CIFAR-10"):
        cifar.cifar10(tmp_path)


def test_matplotlib_is_loaded_only_for_a_figure():
    code = f"import sys; sys.path.insert(0, {str(EXPERIMENTS)!r})\n"
    code += "".join(f"import {name}\n" for name in NAMES)
    code += "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_of_every_size_are_short():
    texts = [common.scientific(value) for value in (0, 1, 0.12345, 1234.5, 3.4e13, 1e-40)]
    assert texts == ["0", "1", "0.123", "1.23e+03", "3.40e+13", "1.00e-40"]
    assert common.scientific(float("nan")) == common.scientific(float("inf")) == "not finite"
    assert common.mean_and_error([1.0, 2.0, 3.0], 2) == "2.00 ± 0.58"


def test_pickling_is_undone_without_names_it_needs():
    """The allowed names suffice for what numpy writes today."""
    images, classes = records(1)
    content = io.BytesIO()
    pickle.dump({"data": images, "labels": classes.tolist()}, content, protocol=2)
    assert torch.equal(cifar.pickled(content.getvalue())[1], torch.tensor(classes))
