"""Keras networks to TF.js graph models."""

import json
import sys
import types
import warnings
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from sfumato.layers import Grain, StyleAffine, UpsampleConv2D
from sfumato.model import StyleModel
from sfumato.predictor import ChannelStatistics

PRECISIONS = ("float32", "float16", "uint8")
# What a graph's one result is called; the browser asks for it by this name.
OUTPUTS = {"predictor": "embedding", "encoder": "features", "decoder": "picture"}
SIGNATURE = "serving_default"


class ExportError(Exception):
    """The model cannot be published; the message says why and what to do."""


class FoldedConv2D(keras.layers.Layer):
    """A convolution without padding whose kernel is a constant: TensorFlow would not
    fold one of this size. `pixels`: its output are cells of 2 x 2 pixels, [1, H, W,
    4 C], and become a picture, [1, 2H, 2W, C]; rows of cells have only to be laid side
    by side, where TF.js's depth to space goes pixel by pixel."""

    def __init__(self, kernel: np.ndarray, pixels: bool, **kwargs):
        super().__init__(**kwargs)
        self.kernel = kernel
        self.pixels = pixels

    def call(self, x):
        x = keras.ops.conv(x, self.kernel, padding="valid")
        if not self.pixels:
            return x
        width, channels = tf.shape(x)[2], x.shape[-1]
        rows = tf.concat(tf.split(x, 2, axis=-1), axis=2)
        return tf.reshape(rows, (1, -1, 2 * width, channels // 4))


class ExportedGrain(Grain):
    """A Grain as the browser computes it: TF.js enlarges faster than it repeats."""

    def enlarged(self, cells):
        height, width = tf.unstack(tf.shape(cells)[1:3])
        size = height * self.CELL, width * self.CELL
        return tf.image.resize(cells, size, "nearest")


class FastStatistics:
    """Means over rows are matrix products: TF.js's WebGL transposes the whole picture
    to take a mean. A squared difference is one op, not two."""

    squared_difference = staticmethod(tf.math.squared_difference)

    def means(self, x):
        width = tf.shape(x)[2]
        # Ones, not shares: TF.js would wait for the graphics card to know a number that
        # it is to fill a tensor with.
        ones = tf.ones((1, 1, 1, width))
        share = 1.0 / tf.cast(width, tf.float32)
        return lambda x: share * tf.reduce_mean(tf.matmul(ones, x), 1, keepdims=True)


class ExportedStyleAffine(FastStatistics, StyleAffine):
    """A StyleAffine as the browser computes it."""


class ExportedStatistics(FastStatistics, ChannelStatistics):
    """ChannelStatistics as the browser computes them."""


class CellStyleAffine(ExportedStyleAffine):
    """A StyleAffine of cells of 2 x 2 pixels, [1, H, W, 4 C]."""

    def build(self, input_shapes):
        (*sides, channels), embedding = input_shapes
        super().build([(*sides, channels // 4), embedding])

    def means(self, x):
        of_cells = super().means(x)

        def of_pixels(x):
            means = tf.reshape(of_cells(x), (4, x.shape[-1] // 4))
            return self.per_channel(tf.reduce_mean(means, axis=0, keepdims=True))

        return of_pixels

    def per_channel(self, values):
        return super().per_channel(tf.concat([values] * 4, axis=-1))


def cell_kernel(kernel: np.ndarray) -> np.ndarray:
    """The kernel [5, 5, C, D] of a convolution of pixels to one of cells of 2 x 2
    pixels, [3, 3, 4 C, 4 D]."""
    size, _, *channels = kernel.shape
    taps = np.arange(size)
    cells = np.zeros((size // 2 + 1,) * 2 + (2, 2, channels[0], 2, 2, channels[1]))
    for row, column in np.ndindex(2, 2):
        rows, columns = np.ix_(row + taps, column + taps)
        place = rows // 2, columns // 2, rows % 2, columns % 2
        cells[(*place, slice(None), row, column)] = kernel
    cells = cells.reshape(*cells.shape[:2], 4 * channels[0], 4 * channels[1])
    return cells.astype(kernel.dtype)


def inference_networks(model: StyleModel) -> dict[str, keras.Model]:
    """The three networks that the browser runs, by graph name.

    From `expand1` to `output` the decoder works on cells of 2 x 2 pixels, at half the
    picture's size and with four times the channels: TF.js has fewer positions to
    unroll a convolution's input at, and more of them fill its textures.
    """
    return {
        "predictor": _clone(model.predictor),
        "encoder": _clone(model.transformer.encoder),
        "decoder": _clone(model.transformer.decoder),
    }


def save_networks(model: StyleModel, folder: Path) -> dict[str, Path]:
    """Writes the networks of `inference_networks` as SavedModels, one folder each,
    for a batch of one picture of any size; returns the folders by graph name."""
    folders = {}
    for name, network in inference_networks(model).items():
        specs = [
            tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=tensor.name)
            for tensor in network.inputs
        ]
        function = tf.function(
            _inference(network, OUTPUTS[name])
        ).get_concrete_function(**{spec.name: spec for spec in specs})
        tracked = tf.Module()
        tracked.network = network
        folders[name] = folder / name
        tf.saved_model.save(tracked, str(folders[name]), {SIGNATURE: function})
    return folders


def convert_graph(name: str, saved_model: Path, folder: Path, precision: str) -> None:
    """Converts one SavedModel to a TF.js graph model: folder/model.json and its
    shards. ExportError for an op that TF.js does not have."""
    try:
        _converter()(
            str(saved_model),
            str(folder),
            signature_def=SIGNATURE,
            quantization_dtype_map=(
                None if precision == "float32" else {precision: "*"}
            ),
        )
    except ValueError as error:
        if "Unsupported Ops" not in str(error):
            raise
        ops = str(error).splitlines()[-1]
        raise ExportError(f"The {name} uses ops that TF.js lacks: {ops}.") from error
    # The converter's maps come in random order; sorted, a model always gives the
    # same bytes and so the same version.
    graph = folder / "model.json"
    content = json.loads(graph.read_text())
    graph.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")))


def nodes(folder: Path) -> list[dict]:
    """The nodes of a TF.js graph model in order of execution, constants left out."""
    topology = json.loads((folder / "model.json").read_text())["modelTopology"]
    return [node for node in topology["node"] if node["op"] != "Const"]


def ops(folder: Path) -> dict[str, int]:
    """How often a TF.js graph model uses each op, the most frequent first."""
    counts = Counter(node["op"] for node in nodes(folder))
    for boundary in ("Placeholder", "Identity"):
        counts.pop(boundary, None)
    return dict(counts.most_common())


def intermediates(
    saved_model: Path, converted: Path, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """TensorFlow's value of every float tensor that the SavedModel and its TF.js
    graph both have, by node name, in the TF.js graph's order of execution."""
    # Named, because the loaded object keeps the variables alive until they are read.
    loaded = tf.saved_model.load(str(saved_model))
    frozen = convert_variables_to_constants_v2(loaded.signatures[SIGNATURE])
    known = {operation.name: operation for operation in frozen.graph.get_operations()}
    shared = [
        node["name"]
        for node in nodes(converted)
        if node["op"] != "Placeholder"
        and (operation := known.get(node["name"])) is not None
        # A fused op bears the name of the last of the ops that went into it.
        and (operation.type == node["op"] or node["op"].startswith("_Fused"))
        and operation.outputs[0].dtype.is_floating
    ]
    pruned = frozen.prune(
        [f"{name}:0" for name in inputs], [f"{name}:0" for name in shared]
    )
    values = pruned(*[tf.constant(value) for value in inputs.values()])
    return {name: value.numpy() for name, value in zip(shared, values, strict=True)}


def _clone(network: keras.Model) -> keras.Model:
    clone = keras.models.clone_model(network, clone_function=_folded)
    for layer in clone.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return clone


def _folded(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, UpsampleConv2D):
        kernel = keras.ops.convert_to_numpy(layer.folded())
        return FoldedConv2D(kernel, pixels=layer.name != "expand1", name=layer.name)
    if layer.name == "output":
        kernel = cell_kernel(keras.ops.convert_to_numpy(layer.kernel))
        return FoldedConv2D(kernel, pixels=True, name=layer.name)
    kind = type(layer)
    if isinstance(layer, StyleAffine):
        on_cells = layer.name == "expand1_style"
        kind = CellStyleAffine if on_cells else ExportedStyleAffine
    elif isinstance(layer, ChannelStatistics):
        kind = ExportedStatistics
    elif isinstance(layer, Grain):
        kind = ExportedGrain
    return kind.from_config(layer.get_config())


def _inference(network: keras.Model, output: str):
    def infer(**inputs):
        values = [inputs[tensor.name] for tensor in network.inputs]
        result = network(values if len(values) > 1 else values[0], training=False)
        return {output: result}

    return infer


def _converter():
    # tensorflowjs imports these two on loading, for model formats not used here;
    # they do not install beside this TensorFlow.
    forests = types.ModuleType("tensorflow_decision_forests")
    jax_conversion = types.ModuleType("tensorflowjs.converters.jax_conversion")
    jax_conversion.convert_jax = None  # type: ignore[attr-defined]
    for module in (forests, jax_conversion):
        sys.modules.setdefault(module.__name__, module)
    with warnings.catch_warnings():
        # tensorflow_hub's way of reading a version; setuptools is pinned for it.
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        from tensorflowjs.converters.tf_saved_model_conversion_v2 import (
            convert_tf_saved_model,
        )
    return convert_tf_saved_model
