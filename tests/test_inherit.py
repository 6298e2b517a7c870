"""A new model takes over what another knows."""

import keras
import numpy as np
from conftest import picture as random_picture

from sfumato.images import to_float
from sfumato.model import StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig
from train.inherit import inherit

READER = PredictorConfig(widths=(4, 8))
WIDE = TransformerConfig(widths=(4, 8, 12), residual_blocks=2, separable=True)
NARROW = TransformerConfig(widths=(2, 4, 6), residual_blocks=2, separable=True)


def random_model(transformer: TransformerConfig, seed: int) -> StyleModel:
    model = StyleModel(READER, transformer)
    random = np.random.default_rng(seed)
    for network in (model.predictor, model.transformer):
        for weight in network.weights:
            # Variances among them: none is below 0.
            least = 0.2 if weight.path.endswith("variance") else -0.25
            weight.assign(random.uniform(least, 0.25, weight.shape))
    return model


def painted(model: StyleModel) -> np.ndarray:
    photo, style = (to_float(random_picture(32, 32, seed))[None] for seed in (1, 2))
    embedding = model.predictor(style, training=False)
    picture = model.transformer([photo, embedding], training=False)
    return keras.ops.convert_to_numpy(picture)


def test_a_model_of_the_same_architecture_takes_over_everything():
    model, start = random_model(WIDE, 1), random_model(WIDE, 2)
    assert not np.allclose(painted(model), painted(start), atol=1e-3)
    inherit(model, start)
    np.testing.assert_array_equal(painted(model), painted(start))


def test_a_narrower_transformer_keeps_the_channels_that_are_read():
    model, start = random_model(NARROW, 1), random_model(WIDE, 2)
    random = np.random.default_rng(3)
    unread = {width: random.permutation(width)[: width // 2] for width in WIDE.widths}
    for weight in start.transformer.weights:
        kind = weight.path.split("/")[1]
        kernels = ("conv", "depthwise", "pointwise", "kernel")
        if kind in kernels and weight.shape[2] in unread:
            kernel = keras.ops.convert_to_numpy(weight).copy()
            kernel[:, :, unread[weight.shape[2]]] = 0.0
            weight.assign(kernel)
    inherit(model, start)
    picture = painted(start)
    assert picture.std() > 0.01
    np.testing.assert_allclose(painted(model), picture, atol=1e-5)


def test_another_architecture_keeps_its_own_weights():
    wider, start = random_model(WIDE, 1), random_model(NARROW, 2)
    before = wider.transformer.get_weights()
    inherit(wider, start)
    for weight, value in zip(wider.transformer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    reader = start.predictor.get_weights()[0]
    np.testing.assert_array_equal(wider.predictor.get_weights()[0], reader)
