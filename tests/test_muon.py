"""Muon: kernels move along orthogonal directions, all else as by Adam."""

import keras
import numpy as np
import pytest

from sfumato.layers import ReflectConv2D
from train.muon import Muon

RATE = 1e-3


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = ReflectConv2D(8, 3, name="colours_in")(image)
    x = ReflectConv2D(16, 3, separable=True, name="separable")(x)
    x = ReflectConv2D(6, 3, name="full")(x)
    return keras.Model(image, ReflectConv2D(3, 3, name="colours_out")(x))


def steps(network: keras.Model, optimizer: keras.optimizers.Optimizer):
    """What each variable moves by in two steps of the same random gradients."""
    random = np.random.default_rng(0)
    before = [keras.ops.convert_to_numpy(v) for v in network.trainable_variables]
    gradients = [random.normal(size=value.shape).astype("float32") for value in before]
    for _ in range(2):
        optimizer.apply(
            [keras.ops.convert_to_tensor(value) for value in gradients],
            network.trainable_variables,
        )
    moved = {
        variable.path: keras.ops.convert_to_numpy(variable) - value
        for variable, value in zip(network.trainable_variables, before, strict=True)
    }
    for variable, value in zip(network.trainable_variables, before, strict=True):
        variable.assign(value)
    return moved, dict(zip(moved, gradients, strict=True))


def test_kernels_move_along_orthogonal_directions_and_all_else_as_by_adam(network):
    moved, gradients = steps(network, Muon(learning_rate=RATE))
    by_adam, _ = steps(network, keras.optimizers.Adam(RATE))
    orthogonal = {"separable/pointwise/kernel", "full/conv/kernel"}
    assert orthogonal < moved.keys()
    for path, value in moved.items():
        if path not in orthogonal:
            np.testing.assert_allclose(value, by_adam[path], rtol=1e-3, err_msg=path)
            continue
        matrix = value.reshape(-1, value.shape[-1])
        sizes = np.linalg.svd(matrix, compute_uv=False)
        # Five iterations bring the singular values near 1, not to it.
        assert sizes.max() / sizes.min() < 2.0
        scale = 2 * 0.2 * RATE * max(matrix.shape) ** 0.5
        assert sizes.mean() == pytest.approx(scale, rel=0.2)
        assert (value * gradients[path]).sum() < 0.0
        raw = np.linalg.svd(gradients[path].reshape(matrix.shape), compute_uv=False)
        assert raw.max() / raw.min() > 1.2 * sizes.max() / sizes.min()
