"""The networks' own layers, beside what they stand for."""

import keras
import numpy as np
import pytest
from keras import ops

from sfumato.layers import (
    Grain,
    MarginPadding2D,
    ReflectPadding2D,
    StyleAffine,
    UpsampleConv2D,
)
from sfumato.transformer import MARGIN, TransformerConfig, build_decoder, build_encoder


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_upsampling_on_the_small_input_is_resizing_and_convolving():
    layer = UpsampleConv2D(5)
    x = noise(2, 6, 9, 4)
    painted = layer(x)
    enlarged = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
    expected = ops.conv(enlarged, layer.kernel, padding="valid")
    assert layer.compute_output_shape(x.shape) == expected.shape == (2, 10, 16, 5)
    np.testing.assert_allclose(painted, expected, atol=1e-5)


def test_padding_is_mirrored():
    x = noise(1, 5, 7, 2)
    layer = ReflectPadding2D(3)
    expected = np.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)], mode="reflect")
    assert layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_array_equal(layer(x), expected)


def ramp(start, height, width, *rises):
    """[1, height, width, len(rises)]: planes from pixel (start, start) on, each of
    which rises by so much a row and so much a column."""
    y, x = np.mgrid[start : start + height, start : start + width][..., None]
    down, right = np.transpose(rises)
    return (y * down + x * right)[None].astype(np.float32)


def test_a_margin_rises_on_as_the_picture_does():
    rises = (0.009, -0.005), (-0.008, 0.0), (0.0, 0.004)
    picture = ramp(0, 13, 20, *rises)
    expected = ramp(-5, 23, 30, *rises)
    layer = MarginPadding2D(5)
    assert layer.compute_output_shape(picture.shape) == expected.shape
    np.testing.assert_allclose(layer(picture), expected, atol=1e-6)
    # But not above white.
    below = ops.convert_to_numpy(layer(picture + 0.88))[:, -5:, 5:-5]
    clipped = np.minimum(expected[:, -5:, 5:-5] + 0.88, 1.0)
    np.testing.assert_allclose(below, clipped, atol=1e-6)


def test_beyond_an_edge_a_margin_is_nearly_mirrored():
    edge = ramp(0, 13, 20, (0.05, 0.0))
    above = ops.convert_to_numpy(MarginPadding2D(5)(edge))[0, 4::-1, 5:-5, 0]
    mirrored = edge[0, 1:6, :, 0]
    risen = 2 * MarginPadding2D.STEEPEST * np.arange(1, 6)[:, None]
    np.testing.assert_allclose(above, mirrored - risen, atol=1e-6)


def test_a_margin_is_mirrored_where_nothing_rises():
    tile = np.pad(noise(4, 4, 2), [(0, 4), (0, 4), (0, 0)], mode="symmetric")
    picture = np.clip(np.tile(tile, (2, 3, 1))[None] / 4.0, -1.0, 1.0)
    margin = MarginPadding2D(8)(picture)
    np.testing.assert_allclose(margin, ReflectPadding2D(8)(picture), atol=1e-6)


def test_grain_is_as_strong_as_the_picture_changes():
    slope = np.linspace(-0.5, 0.5, 256, dtype=np.float32)
    picture = np.broadcast_to(slope[:, None, None], (1, 256, 200, 3))
    slow, slower = (
        ops.convert_to_numpy(Grain()(x) - x) for x in (picture / 10, picture / 20)
    )
    assert np.all(np.abs(slow) > 0)
    # Cells at the border have fewer beside them.
    within = slice(16, -16)
    np.testing.assert_allclose(slow[:, within], 2 * slower[:, within], atol=1e-5)
    np.testing.assert_allclose(slow[..., 0], slow[..., 1], atol=1e-7)
    strongest = ops.convert_to_numpy(Grain()(10 * picture) - 10 * picture)
    assert strongest.std() == pytest.approx(Grain.STRONGEST, rel=0.05)
    assert abs(strongest.mean()) < 0.05 * Grain.STRONGEST


def test_grain_knows_no_direction():
    """Of white noise, pixels beside one another, or on a diagonal, are unrelated."""
    picture = np.linspace(-9, 9, 256, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to(picture, (1, 256, 256, 1))
    once = slice(Grain.PERIOD)
    grain = ops.convert_to_numpy(Grain()(picture) - picture)[0, once, once, 0]
    spectrum = np.abs(np.fft.fft2(grain - grain.mean())) ** 2
    related = np.fft.ifft2(spectrum).real / grain.var() / grain.size
    assert related[0, 0] == pytest.approx(1)
    assert np.abs([related[0, 1], related[1, 0], related[1, 1]]).max() < 0.1


def test_what_is_flat_gets_no_grain():
    picture = np.full((1, 52, 52, 3), 0.3, np.float32)
    np.testing.assert_allclose(Grain()(picture), picture, atol=1e-6)
    edge = picture.copy()
    edge[:, :, 40:] = 0.9
    moved = ops.convert_to_numpy(Grain()(edge) - edge)
    assert np.abs(moved[:, :, :24]).max() < 1e-6
    assert np.abs(moved[:, :, 32:48]).max() > 1 / 255


def test_conditional_instance_normalisation():
    """Each channel has the mean and the deviation that the embedding asks for."""
    layer = StyleAffine()
    x = 3.0 + 2.0 * noise(2, 8, 10, 4)
    embedding = noise(2, 6)
    layer([x, embedding])
    gamma, gamma_bias, beta, beta_bias = (0.3 * noise(*w.shape) for w in layer.weights)
    layer.set_weights([gamma, 1.0 + gamma_bias, beta, beta_bias])
    styled = ops.convert_to_numpy(layer([x, embedding]))
    deviation = np.abs(embedding @ gamma + 1.0 + gamma_bias)
    np.testing.assert_allclose(
        styled.mean(axis=(1, 2)), embedding @ beta + beta_bias, atol=1e-5
    )
    np.testing.assert_allclose(styled.std(axis=(1, 2)), deviation, rtol=1e-4)


def test_a_flat_channel_stays_flat():
    """What rounding differs by is not magnified, however little else there is."""
    layer = StyleAffine()
    flat = 0.7 + 1e-6 * noise(1, 8, 8, 3)
    assert np.ptp(layer([flat, noise(1, 6)]), axis=(1, 2)).max() < np.ptp(flat)


@pytest.mark.parametrize("separable", [False, True])
def test_the_margin_is_cut_off_again(separable):
    config = TransformerConfig((4, 6, 8), residual_blocks=1, separable=separable)
    keras.utils.set_random_seed(0)
    photo = ops.convert_to_tensor(noise(1, 36, 52, 3))
    embedding = ops.convert_to_tensor(noise(1, config.embedding_size))
    features = build_encoder(config)(photo)
    assert features.shape == (1, (36 + 2 * MARGIN) // 4, (52 + 2 * MARGIN) // 4, 8)
    assert build_decoder(config)([features, embedding]).shape == photo.shape


def test_what_is_painted_lies_where_it_is_in_the_photo():
    """One bright pixel in the dark, repainted by several networks never trained: the
    change lies, by their mean, around the middle of the four by four pixels that it
    shares its features with."""
    config = TransformerConfig((4, 6, 8), residual_blocks=0)
    embedding = ops.zeros((1, config.embedding_size))
    photo = np.zeros((1, 64, 64, 3), np.float32)
    photo[:, 20, 40] = 1.0
    places = []
    for seed in range(12):
        keras.utils.set_random_seed(seed)
        painted = build_decoder(config)([build_encoder(config)(photo), embedding])
        picture = ops.convert_to_numpy(painted)[0]
        change = np.square(picture - np.median(picture, axis=(0, 1))).sum(axis=-1)
        places.append(np.average(np.indices((64, 64)), axis=(1, 2), weights=change))
    np.testing.assert_allclose(np.mean(places, axis=0), (21.5, 41.5), atol=1.0)
