"""Losses against values worked out by hand and against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from train import losses
from train.vgg import (
    ALEXNET_LAYERS,
    VGG16_LAYERS,
    build_alexnet,
    build_vgg16,
)

TARGET = np.random.default_rng(2).random((1, 3, 4, 2)).astype(np.float32)


def test_gram_matrix_by_hand():
    features = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)  # two positions
    expected = [[(1 + 9) / 2, (2 + 12) / 2], [(2 + 12) / 2, (4 + 16) / 2]]
    np.testing.assert_allclose(losses.gram_matrix(features)[0], expected)


def test_gram_matrix_of_bfloat16_features():
    features = np.random.default_rng(4).random((2, 64, 64, 8)).astype(np.float32)
    rounded = tf.cast(features, tf.bfloat16)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rounded)
        exact = losses.gram_matrix(tf.cast(rounded, tf.float32))
        gram = losses.gram_matrix(rounded)
    assert gram.dtype == tf.float32
    # Half of bfloat16's last place.
    np.testing.assert_allclose(gram, exact, rtol=2**-8)
    np.testing.assert_allclose(
        tf.cast(tape.gradient(gram, rounded), tf.float32),
        tf.cast(tape.gradient(exact, rounded), tf.float32),
        rtol=2**-6,
    )


def test_style_distance_by_hand():
    gram = np.array([[[1.0, 0.0], [0.0, 2.0]]], np.float32)
    target = np.array([[[3.0, 1.0], [1.0, 0.0]]], np.float32)
    expected = (4 + 1 + 1 + 4) / ((1 + 4) + (9 + 1 + 1))
    np.testing.assert_allclose(losses.style_distance(gram, target), [expected])
    np.testing.assert_allclose(losses.style_distance(gram, gram), [0.0])


def test_style_distance_is_bounded_by_one_for_unrelated_styles():
    gram = np.diag([5.0, 0.0]).astype(np.float32)[None]
    target = np.diag([0.0, 7.0]).astype(np.float32)[None]
    np.testing.assert_allclose(losses.style_distance(gram, target), [1.0], rtol=1e-6)


def test_content_distance_and_loss_by_hand():
    features = np.array([[[[1.0], [3.0]]]], np.float32)
    target = np.array([[[[2.0], [0.0]]]], np.float32)
    error, own, theirs = (1 + 9) / 2, (1 + 9) / 2, (4 + 0) / 2
    np.testing.assert_allclose(
        losses.content_distance(features, target), [error / ((own + theirs) / 2)]
    )
    np.testing.assert_allclose(losses.content_loss(features, target), [error / theirs])


def test_total_variation_by_hand():
    image = np.array([[[[0.0], [1.0]], [[0.5], [0.0]]]], np.float32)
    down, across = (0.25 + 1.0) / 2, (1.0 + 0.25) / 2
    np.testing.assert_allclose(losses.total_variation(image), [down + across])


def test_blank_images_give_no_nan():
    blank = np.zeros((1, 4, 4, 3), np.float32)
    gram = losses.gram_matrix(blank)
    assert np.isfinite(losses.style_distance(gram, gram)).all()
    assert np.isfinite(losses.content_loss(blank, blank)).all()


@pytest.mark.parametrize(
    "loss",
    [
        losses.total_variation,
        lambda x: losses.content_loss(x, TARGET),
        lambda x: losses.content_distance(x, TARGET),
        lambda x: losses.style_distance(
            losses.gram_matrix(x), losses.gram_matrix(TARGET)
        ),
    ],
    ids=["total variation", "content loss", "content distance", "style distance"],
)
def test_gradients_agree_with_finite_differences(loss):
    values = tf.constant(np.random.default_rng(1).random((1, 3, 4, 2)), tf.float32)
    (analytic,), (numeric,) = tf.test.compute_gradient(loss, [values], delta=1e-2)
    np.testing.assert_allclose(analytic, numeric, atol=2e-3)


def test_vgg16_layers_have_their_shapes():
    features = build_vgg16(VGG16_LAYERS)(np.zeros((1, 32, 48, 3), np.float32))
    assert set(features) == set(VGG16_LAYERS)
    assert features["relu1_2"].shape == (1, 32, 48, 64)
    assert features["relu3_3"].shape == (1, 8, 12, 256)
    assert features["relu5_3"].shape == (1, 2, 3, 512)


def test_vgg16_stops_at_the_deepest_layer_asked_for():
    assert build_vgg16(["relu1_2"]).count_params() == 38_720


def test_checkerboard_is_the_mean_square_of_a_pattern_and_zero_without_one():
    stripes = np.where(np.arange(64) % 2 == 0, 0.25, -0.25).astype(np.float32)
    pattern = np.broadcast_to(stripes[:, None], (1, 64, 64, 3))
    y, x = np.mgrid[0:64, 0:64] / 64
    smooth = np.stack([x, y, x * y], axis=-1)[None].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.25, (1, 64, 64, 3)).astype(np.float32)
    # The pattern's own square, nearly: local means miss a little along the border.
    assert float(losses.checkerboard(pattern)[0]) == pytest.approx(0.0625, rel=0.05)
    assert float(losses.checkerboard(smooth)[0]) < 1e-4
    # 64 pixels are averaged.
    assert float(losses.checkerboard(noise)[0]) == pytest.approx(0.0625 / 64, rel=0.15)


def test_first_vgg16_convolution_by_hand():
    """One output pixel in the middle, summed over the kernel in NumPy."""
    image = np.random.default_rng(3).random((1, 5, 5, 3)).astype(np.float32)
    network = build_vgg16(["relu1_1"])
    kernel, bias = network.get_layer("relu1_1").get_weights()
    standard = (image[0] - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = np.einsum("hwc,hwco->o", standard[1:4, 1:4], kernel) + bias
    np.testing.assert_allclose(
        network(image)["relu1_1"][0, 2, 2], np.maximum(expected, 0), atol=1e-5
    )


def test_alexnet_layers_have_their_shapes():
    features = build_alexnet(ALEXNET_LAYERS)(np.zeros((1, 256, 256, 3), np.float32))
    assert [features[name].shape[1:] for name in ALEXNET_LAYERS] == [
        (63, 63, 64),
        (31, 31, 192),
        (15, 15, 384),
        (15, 15, 256),
        (15, 15, 256),
    ]


def test_unknown_layer_lists_the_layers():
    with pytest.raises(KeyError, match=r"relu9_9.*relu1_1"):
        build_vgg16(["relu9_9"])
