"""The predictor: looks at a painting once and names its style in 100 numbers."""

from dataclasses import dataclass

import keras
from keras import ops

from sfumato.layers import ReflectConv2D, spatial_mean, squared_difference


@dataclass(frozen=True)
class PredictorConfig:
    """widths: channels of the stages, each at half the size of the one before;
    residual_blocks: separable ones in every stage but the first, the largest."""

    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    residual_blocks: int = 0
    embedding_size: int = 100


@keras.saving.register_keras_serializable("sfumato")
class ChannelStatistics(keras.layers.Layer):
    """[B, H, W, C] to the mean and standard deviation of each channel [B, 2C]."""

    def call(self, x):
        x = ops.cast(x, "float32")
        means = self.means(x)
        mean = means(x)
        variance = means(self.squared_difference(x, mean))
        # The epsilon bounds the square root's slope where a channel is flat.
        both = ops.concatenate([mean, ops.sqrt(variance + 1e-4)], axis=-1)
        return ops.reshape(both, (-1, 2 * x.shape[-1]))

    def means(self, x):
        """What gives each channel's mean, [B, 1, 1, C], of an input of x's shape."""
        return spatial_mean

    squared_difference = staticmethod(squared_difference)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 2 * input_shape[-1])


def build_predictor(config: PredictorConfig) -> keras.Model:
    """Painting [B, H, W, 3] in [0, 1], any size from 16 px up, to an embedding
    [B, E].

    A style is read off the channel statistics of every layer, colour included
    (Huang & Belongie 2017, arXiv 1703.06868), not off the deepest layer alone as
    in Ghiasi et al. 2017: a small network then reads a style from few paintings.
    """
    style = keras.Input((None, None, 3), name="style")
    x = style * 2.0 - 1.0
    statistics = [ChannelStatistics(name="colour")(x)]
    for index, width in enumerate(config.widths):
        x = ReflectConv2D(width, 3, 2, use_bias=False, name=f"conv{index}")(x)
        x = keras.layers.BatchNormalization(name=f"conv{index}_norm")(x)
        x = keras.layers.ReLU(name=f"conv{index}_relu")(x)
        for block in range(config.residual_blocks if index else 0):
            y = ReflectConv2D(
                width,
                3,
                separable=True,
                kernel_initializer="zeros",
                name=f"residual{index}_{block}",
            )(x)
            x = keras.layers.ReLU()(x + y)
        statistics.append(ChannelStatistics(name=f"statistics{index}")(x))
    x = keras.layers.Concatenate(dtype="float32")(statistics)
    x = keras.layers.LayerNormalization(dtype="float32", name="statistics_norm")(x)
    embedding = keras.layers.Dense(
        config.embedding_size, dtype="float32", name="embedding"
    )(x)
    return keras.Model(style, embedding, name="predictor")
