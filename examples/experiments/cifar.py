"""CIFAR-10 from a folder: the binary version, or the pickles of the Python version.

A pickle can run anything when it is loaded. The one here may name nothing but what an array of
bytes is made of; any other name is an error before it is looked up.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Images, split
from torch import Tensor

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE
TRAIN, TEST = [f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]
PARTS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class _Arrays(pickle.Unpickler):
    """Reads arrays, and the plain values that need no names."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in {
            "numpy.core.multiarray",
            "numpy._core.multiarray",
        }:
            return _empty
        if (module, name) not in PARTS:
            raise ValueError(f"the pickle names {module}.{name}, which no array of bytes needs")
        return PARTS[module, name]


def _empty(kind: type, shape: tuple[int, ...], code: object) -> np.ndarray[Any, Any]:
    """Make the empty array whose state the pickle sets after."""
    if kind is not np.ndarray or shape != (0,):
        raise ValueError("the pickle has an array that numpy did not write")
    return np.ndarray(shape, "b")


def cifar10(folder: Path) -> Images:
    """Load the 50,000 images to train on and the 10,000 for the test.

    A folder that lacks a file, or has one that is damaged, ends the program with what is wrong.
    """
    for inner in (folder, folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py"):
        for suffix, read in ((".bin", binary), ("", pickled)):
            if (inner / f"{TEST[0]}{suffix}").is_file():
                parts = [
                    [_read(inner / f"{name}{suffix}", read) for name in names]
                    for names in (TRAIN, TEST)
                ]
                return split(*(torch.cat(piece) for part in parts for piece in zip(*part)))  # noqa: B905
    raise SystemExit(f"{folder} has neither test_batch.bin nor test_batch of CIFAR-10")


def _read(file: Path, read: Callable[[bytes], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    try:
        images, classes = read(file.read_bytes())
        if not len(images):
            raise ValueError("it is empty")
    except FileNotFoundError:
        raise SystemExit(
            f"{file.parent} lacks {file.name}, one of the six files of CIFAR-10"
        ) from None
    except OSError as error:
        raise SystemExit(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # a pickle that is damaged may raise anything
        told = f"{type(error).__name__}: {error}"
        raise SystemExit(f"{file} is not a file of CIFAR-10, or is damaged: {told}") from error
    return images, classes


def binary(content: bytes) -> tuple[Tensor, Tensor]:
    """Read records of one byte for the class and 3072 for the image."""
    if len(content) % (1 + PIXELS):
        raise ValueError(f"{len(content)} bytes are not whole records of {1 + PIXELS}")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return _tensors(records[:, 1:], records[:, 0])


def pickled(content: bytes) -> tuple[Tensor, Tensor]:
    """Read a dictionary that has the images as rows of `data`, and `labels`."""
    found = _Arrays(io.BytesIO(content), encoding="bytes").load()
    found = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    images, classes = found["data"], np.asarray(found["labels"])
    if images.dtype != np.uint8 or images.shape != (len(classes), PIXELS):
        raise ValueError(f"data is {images.dtype} {images.shape}, not uint8 ({len(classes)}, 3072)")
    return _tensors(images, classes)


def _tensors(images: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) <= 9:
        raise ValueError("a class is not 0 to 9")
    shaped = torch.tensor(images.reshape(-1, CHANNELS, SIDE, SIDE))
    return shaped.float() / 255, torch.tensor(classes.astype(np.int64))
