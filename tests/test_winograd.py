"""Winograd's convolutions beside TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from train.vgg import build_vgg16
from train.winograd import WinogradConv2D

CHANNELS, FILTERS = 6, 5


def convolution(kind):
    random = np.random.default_rng(1)
    layer = kind(FILTERS, 3, padding="same")
    layer.build((None, None, None, CHANNELS))
    kernel, bias = random.normal(size=(3, 3, CHANNELS, FILTERS)), random.random(FILTERS)
    layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return layer


def result_and_gradient(kind, features):
    layer = convolution(kind)

    @tf.function
    def run(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = layer(features)
            loss = tf.reduce_sum(result**2)
        return result, tape.gradient(loss, features)

    return run(features)


@pytest.mark.parametrize("shape", [(2, 16, 24), (1, 7, 5), (3, 1, 2), (1, 9, 12)])
def test_results_and_gradients_are_those_of_a_convolution(shape):
    features = np.random.default_rng(2).normal(size=(*shape, CHANNELS))
    features = tf.constant(features, tf.float32)
    expected = result_and_gradient(layers.Conv2D, features)
    found = result_and_gradient(WinogradConv2D, features)
    for ours, plain in zip(found, expected, strict=True):
        largest = float(tf.reduce_max(tf.abs(plain)))
        np.testing.assert_allclose(ours, plain, atol=1e-5 * largest)


def test_vgg16_is_the_same_by_either():
    """In float64 all of its convolutions are TensorFlow's own."""
    image = tf.constant(np.random.default_rng(3).random((1, 40, 52, 3)), tf.float32)
    names = ["relu3_3", "relu4_3", "relu5_1"]
    exact, network = build_vgg16(names, dtype="float64"), build_vgg16(names)
    deep = network.get_layer("relu3_1")
    assert isinstance(deep, WinogradConv2D)
    assert not isinstance(network.get_layer("relu2_2"), WinogradConv2D)
    assert not isinstance(exact.get_layer("relu3_1"), WinogradConv2D)
    expected = exact(image)
    for run, winograd in ((network, False), (tf.function(network), True)):
        found = run(image)
        # Winograd's kernels are made when they are first asked for.
        assert ("transformed" in vars(deep)) == winograd
        for name in names:
            largest = float(tf.reduce_max(expected[name]))
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * largest)
