"""The transformer: repaints a photo under a style embedding.

After Ghiasi et al. 2017 (arXiv 1705.06830), in two halves: the encoder knows
nothing of the style, so its features serve every style that a photo is painted
in; the decoder is conditioned on the embedding throughout. Departures: batch
normalisation in the encoder (it keeps the photo's large tonal differences and
folds away at export), no normalisation before the final sigmoid (a normalised
3-channel output breeds white blobs), and a margin: the photo goes on beyond its
borders, and what is painted there is cut off. However a layer pads its input, a
network can tell that there is a border, and paints one. Last, photos get grain: of what
is smooth, stripes would be painted.
"""

from dataclasses import dataclass

import keras
from keras import ops

from sfumato.layers import (
    Grain,
    MarginPadding2D,
    ReflectConv2D,
    StyleAffine,
    UpsampleConv2D,
)


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
# By how many pixels the photo goes on beyond each of its borders.
MARGIN = 16
# A margin is mirrored from within the photo, whose sides have to be longer.
MIN_SIZE = MARGIN + SIZE_MULTIPLE
OUTER_KERNEL = 5
# How much of the margin the decoder makes large again, in pixels of its features: what
# its convolutions without padding need. Each of the two that double the size takes a
# pixel of its result, the first of which is doubled again; the last takes half its
# kernel.
ENLARGED = 2
LEFT_OVER = ENLARGED * SIZE_MULTIPLE - 3 - OUTER_KERNEL // 2


def build_encoder(config: TransformerConfig) -> keras.Model:
    """Photo [B, H, W, 3] in [0, 1] to features [B, h, w, widths[2]] of the photo with
    its margin, h = (H + 2 MARGIN) / 4 and w likewise.

    H and W must be multiples of SIZE_MULTIPLE and at least MIN_SIZE.
    """
    content = keras.Input((None, None, 3), name="content")
    # Centred, so that reflected borders and the first filters see zero as grey.
    x = MarginPadding2D(MARGIN, name="margin")(content * 2.0 - 1.0)
    x = Grain(name="grain")(x)
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
    [B, 4h - 2 MARGIN, 4w - 2 MARGIN, 3] in [0, 1]."""
    features = keras.Input((None, None, config.widths[2]), name="features")
    embedding = keras.Input((config.embedding_size,), name="embedding")

    def styled(convolution, x, normalize=True):
        style = StyleAffine(normalize, name=f"{convolution.name}_style")
        return style([convolution(x), embedding])

    def residual(name):
        return ReflectConv2D(
            config.widths[2], 3, separable=config.separable, use_bias=False, name=name
        )

    x = features
    for index in range(config.residual_blocks):
        y = styled(residual(f"residual{index}a"), x)
        y = keras.layers.ReLU()(y)
        y = styled(residual(f"residual{index}b"), y)
        x = x + y
    x = keras.layers.Cropping2D(MARGIN // SIZE_MULTIPLE - ENLARGED, name="near")(x)
    for index, width in enumerate(reversed(config.widths[:2])):
        x = styled(UpsampleConv2D(width, name=f"expand{index}"), x)
        x = keras.layers.ReLU()(x)
    output = keras.layers.Conv2D(3, OUTER_KERNEL, use_bias=False, name="output")
    x = styled(output, x, normalize=False)
    x = keras.layers.Cropping2D(LEFT_OVER, name="cut")(x)
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
