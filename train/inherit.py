"""What a new model takes over from the weights of another."""

import re
from dataclasses import replace

import keras
import numpy as np

from sfumato.model import StyleModel
from sfumato.transformer import TransformerConfig


def inherit(model: StyleModel, start: StyleModel) -> None:
    """Gives each network of the model the weights that it has in `start`, if it has
    the same architecture there. A transformer that is narrower and otherwise the same
    is given the weightiest channels. Any other keeps its own weights."""
    if model.manifest["predictor"] == start.manifest["predictor"]:
        model.predictor.set_weights(start.predictor.get_weights())
    wide, narrow = (
        TransformerConfig(**one.manifest["transformer"]) for one in (start, model)
    )
    wider = all(a >= b for a, b in zip(wide.widths, narrow.widths, strict=True))
    if wider and replace(wide, widths=narrow.widths) == narrow:
        _prune(start.transformer, model.transformer)


def _prune(wide: keras.Model, narrow: keras.Model) -> None:
    """Channels are ranked by their share in the absolute weights of the convolutions
    that read them (Li et al. 2017, arXiv 1608.08710, rank them by the weights that
    make them; ours are normalised, so that those say little)."""
    weights = {
        weight.path: keras.ops.convert_to_numpy(weight) for weight in wide.weights
    }
    layers = list(dict.fromkeys(path.split("/")[0] for path in weights))
    convolutions = [name for name in layers if not name.endswith(("_norm", "_style"))]
    read = dict(zip(convolutions, ["photo", *map(_made, convolutions)], strict=False))

    shares: dict[str, np.ndarray] = {}
    for name, channels in read.items():
        # [height, width, in, out]; of a depthwise convolution [height, width, in, 1].
        kernels = [
            np.abs(weights[path]) for path in weights if path.startswith(f"{name}/")
        ]
        share = np.prod([kernel.sum((0, 1, 3)) for kernel in kernels], axis=0)
        shares[channels] = shares.get(channels, 0.0) + share / share.sum()
    # Nothing reads the picture: all its channels stay.
    sizes = {"photo": 3} | {
        _made(name): weight.shape[-1]
        for weight in narrow.weights
        if (name := weight.path.split("/")[0]) in read
    }
    kept = {"output": np.arange(3)} | {
        channels: np.sort(np.argsort(-share)[: sizes[channels]])
        for channels, share in shares.items()
    }
    for weight in narrow.weights:
        name, kind, *_ = weight.path.split("/")
        convolution = name.removesuffix("_norm").removesuffix("_style")
        value = weights[weight.path]
        if name == convolution:
            value = value[:, :, kept[read[name]]]
        if kind != "depthwise":
            value = value[..., kept[_made(convolution)]]
        weight.assign(value)


def _made(convolution: str) -> str:
    """The group of channels that a convolution makes: those between the residual
    blocks are the sum of what several make."""
    if convolution == "contract2" or re.fullmatch(r"residual\d+b", convolution):
        return "stream"
    return convolution
