"""The transformer: repaints a photo under a style embedding.

After Ghiasi et al. 2017 (arXiv 1705.06830), in two halves: the encoder knows
nothing of the style, so its features serve every style that a photo is painted
in; the decoder is conditioned on the embedding throughout. Departures: batch
normalisation in the encoder (it keeps the photo's large tonal differences and
folds away at export), and no normalisation before the final sigmoid (a
normalised 3-channel output breeds white blobs).
"""

from dataclasses import dataclass

import keras
from keras import ops

from sfumato.layers import ReflectConv2D, StyleAffine


@dataclass(frozen=True)
class TransformerConfig:
    """widths: channels at full, half and quarter resolution; separable: of the
    residual blocks' convolutions."""

    widths: tuple[int, int, int] = (16, 32, 64)
    residual_blocks: int = 5
    separable: bool = False
    embedding_size: int = 100


# The encoder halves the picture twice: it takes sides that are a multiple of this.
SIZE_MULTIPLE = 4
# Below this, the quarter-size features are too small to reflect-pad twice over.
MIN_SIZE = 16
OUTER_KERNEL = 5


def build_encoder(config: TransformerConfig) -> keras.Model:
    """Photo [B, H, W, 3] in [0, 1] to features [B, H/4, W/4, widths[2]].

    H and W must be multiples of SIZE_MULTIPLE.
    """
    content = keras.Input((None, None, 3), name="content")
    # Centred, so that reflected borders and the first filters see zero as grey.
    x = content * 2.0 - 1.0
    for index, width in enumerate(config.widths):
        x = ReflectConv2D(
            width,
            OUTER_KERNEL if index == 0 else 3,
            strides=1 if index == 0 else 2,
            use_bias=False,
            name=f"contract{index}",
        )(x)
        x = keras.layers.BatchNormalization(name=f"contract{index}_norm")(x)
        x = keras.layers.ReLU(name=f"contract{index}_relu")(x)
    return keras.Model(content, x, name="encoder")


def build_decoder(config: TransformerConfig) -> keras.Model:
    """Features [B, h, w, widths[2]] and embedding [B, E] to a picture
    [B, 4h, 4w, 3] in [0, 1]."""
    features = keras.Input((None, None, config.widths[2]), name="features")
    embedding = keras.Input((config.embedding_size,), name="embedding")

    def conditioned(x, filters, name, normalize=True, **conv):
        x = ReflectConv2D(filters, use_bias=False, name=name, **conv)(x)
        return StyleAffine(normalize, name=f"{name}_style")([x, embedding])

    x = features
    for index in range(config.residual_blocks):
        y = conditioned(
            x,
            config.widths[2],
            f"residual{index}a",
            kernel_size=3,
            separable=config.separable,
        )
        y = keras.layers.ReLU()(y)
        y = conditioned(
            y,
            config.widths[2],
            f"residual{index}b",
            kernel_size=3,
            separable=config.separable,
        )
        x = x + y
    for index, width in enumerate(reversed(config.widths[:2])):
        x = keras.layers.UpSampling2D(2, name=f"expand{index}_resize")(x)
        x = conditioned(x, width, f"expand{index}", kernel_size=3)
        x = keras.layers.ReLU()(x)
    x = conditioned(x, 3, "output", normalize=False, kernel_size=OUTER_KERNEL)
    picture = keras.layers.Activation("sigmoid", dtype="float32", name="picture")(x)
    return keras.Model([features, embedding], picture, name="decoder")


class Transformer(keras.Model):
    """Photo [B, H, W, 3] in [0, 1] and embedding [B, E] to a stylized photo of
    exactly the photo's size, in [0, 1]. H and W are at least MIN_SIZE."""

    def __init__(self, config: TransformerConfig):
        super().__init__(name="transformer")
        self.encoder = build_encoder(config)
        self.decoder = build_decoder(config)

    def call(self, inputs, training=False):
        content, embedding = inputs
        height, width = ops.shape(content)[1:3]
        content = ops.pad(
            content,
            [[0, 0], [0, -height % SIZE_MULTIPLE], [0, -width % SIZE_MULTIPLE], [0, 0]],
            mode="reflect",
        )
        features = self.encoder(content, training=training)
        return self.decoder([features, embedding])[:, :height, :width]
