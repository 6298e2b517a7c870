"""The building blocks that the predictor and the transformer share."""

import keras
import numpy as np
from keras import ops


def spatial_mean(x):
    """[B, H, W, C] to the mean of each channel, [B, 1, 1, C]. In two steps: shorter
    sums are more exact, and TensorFlow.js paints faster by them."""
    return ops.mean(ops.mean(x, axis=1, keepdims=True), axis=2, keepdims=True)


def squared_difference(x, mean):
    """(x - mean)², on its own because TensorFlow.js has it as one operation."""
    return ops.square(x - mean)


@keras.saving.register_keras_serializable("sfumato")
class ReflectPadding2D(keras.layers.Layer):
    """[B, H, W, C] to [B, H + 2 border, W + 2 border, C], mirrored at each border
    without repeating its outermost pixels. H and W must exceed `border`."""

    def __init__(self, border, **kwargs):
        super().__init__(**kwargs)
        self.border = border

    def call(self, x):
        sides = (self.border, self.border)
        return ops.pad(x, [(0, 0), sides, sides, (0, 0)], mode="reflect")

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        height, width = (
            None if side is None else side + 2 * self.border for side in sides
        )
        return (batch, height, width, channels)

    def get_config(self):
        return super().get_config() | {"border": self.border}


@keras.saving.register_keras_serializable("sfumato")
class MarginPadding2D(ReflectPadding2D):
    """[B, H, W, C] in [-1, 1] to [B, H + 2 border, W + 2 border, C] in [-1, 1]: a
    picture goes on, mirrored, but what rises towards a border goes on rising beyond it.
    A mirrored slope bends there, and of a smooth picture the bend is painted, as a
    frame. H and W must exceed `border`.

    The slope is that of the line of least squares through the `border` outermost
    pixels, at most STEEPEST, averaged over as many to either side along the border.
    """

    # By pixel: what rises from black to white within 200 pixels is an edge, no shading.
    STEEPEST = 0.01

    def call(self, x):
        deep = self.border + 1
        above, below = self._beyond(x[:, :deep], x[:, -deep:])
        x = ops.concatenate([above, x, below], axis=1)
        # Only the ends are turned: TensorFlow.js takes its time over whole pictures.
        ends = _turned(x[:, :, :deep]), _turned(x[:, :, -deep:])
        left, right = map(_turned, self._beyond(*ends))
        return ops.concatenate([left, x, right], axis=2)

    def _beyond(self, first, last):
        """The first and the last border + 1 rows of a picture to the `border` rows that
        go before and after them."""
        before = ops.flip(self._outwards(first), axis=1)
        return before, self._outwards(ops.flip(last, axis=1))

    def _outwards(self, rows):
        """border + 1 rows from the border inwards to `border` rows from it outwards,
        [B, border, W, C]."""
        place = np.arange(self.border) - (self.border - 1) / 2
        line = (place / np.sum(place**2)).reshape(1, -1, 1, 1)
        outermost = rows[:, :-1]
        slope = ops.sum(outermost * ops.cast(line, rows.dtype), axis=1, keepdims=True)
        slope = ops.clip(slope, -self.STEEPEST, self.STEEPEST)
        sides = (self.border, self.border)
        slope = ops.pad(slope, [(0, 0), (0, 0), sides, (0, 0)], mode="reflect")
        slope = ops.average_pool(slope, (1, 2 * self.border + 1), strides=1)
        # A mirrored slope is that within, turned round: twice of it turns it back.
        away = 2.0 * np.arange(1, self.border + 1).reshape(1, -1, 1, 1)
        return ops.clip(rows[:, 1:] - slope * ops.cast(away, rows.dtype), -1.0, 1.0)


@keras.saving.register_keras_serializable("sfumato")
class Grain(keras.layers.Layer):
    """[B, H, W, C] in [-1, 1] to the same with grain, as a camera gives it, the
    stronger the more the picture changes within some 24 pixels: none where it is flat,
    at most STRONGEST, its standard deviation.

    What is smooth has nothing, in 8 bits, but the stairs of its levels, straight and at
    even distances. Normalised, they are painted as stripes, and as a frame where the
    margin's stairs do not fit them.
    """

    CELL = 8
    # Of what changes among neighbouring cells.
    SHARE = 0.15
    # 1.2 of 255 levels.
    STRONGEST = 2.4 / 255
    # The grain is a product of rows and columns of random numbers, which repeat: to
    # repeat a picture of them takes TensorFlow.js longer than all the rest. With a
    # period of 64 the strokes of a smooth photo repeat for everyone to see.
    PERIOD = 256
    # With 16, at some borders the lines are so much alike that colours differ there.
    RANK = 32

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        cells = ops.average_pool(x, self.CELL, strides=self.CELL, padding="same")
        change = _largest_beside(cells) + _largest_beside(-cells)
        strength = ops.minimum(self.SHARE * change, self.STRONGEST)
        strength = self.enlarged(strength)[:, :height, :width]
        return x + strength * self._noise(height, width, x.shape[-1], x.dtype)

    def enlarged(self, cells):
        """[B, h, w, C] with each cell repeated over CELL x CELL pixels."""
        return ops.repeat(ops.repeat(cells, self.CELL, axis=1), self.CELL, axis=2)

    def lines(self):
        """Random directions, of which the grain's rows and columns are made,
        [2, PERIOD, RANK], of length 1: no line has more grain than others."""
        # This generator's numbers do not change with NumPy's version.
        lines = np.random.RandomState(0).standard_normal((2, self.PERIOD, self.RANK))
        return lines / np.linalg.norm(lines, axis=-1, keepdims=True)

    def _noise(self, height, width, channels, dtype):
        """[1, height, width, channels] of variance 1, the same in all channels."""
        rows, columns = self.lines()

        def repeated(lines, count):
            times = count // len(lines) + 1
            return ops.tile(ops.cast(lines, dtype), (times, 1))[:count]

        rows = repeated(rows * self.RANK**0.5, height)
        columns = ops.repeat(repeated(columns, width), channels, axis=0)
        noise = ops.matmul(rows, ops.transpose(columns))
        return ops.reshape(noise, (1, height, width, channels))


def _largest_beside(cells):
    """[B, H, W, C] to each channel's maximum within the 3 x 3 around each place."""
    return ops.max_pool(cells, 3, strides=1, padding="same")


def _turned(x):
    """[B, H, W, C] to [B, W, H, C]."""
    return ops.transpose(x, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("sfumato")
class ReflectConv2D(keras.layers.Layer):
    """A convolution over a reflection-padded input: no dark or bright border.

    Input [B, H, W, C]; output [B, ceil(H / strides), ceil(W / strides), filters].
    H and W must exceed `kernel_size // 2`. With `separable`, a depthwise
    convolution followed by a 1 x 1 one (Howard et al. 2017, arXiv 1704.04861), which
    is the one that `kernel_initializer` fills.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        separable=False,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.separable = separable
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer
        self.padding = ReflectPadding2D(kernel_size // 2, name="padding")
        mixing = {"use_bias": use_bias, "kernel_initializer": kernel_initializer}
        if separable:
            self.spatial = keras.layers.DepthwiseConv2D(
                kernel_size,
                strides,
                use_bias=False,
                depthwise_initializer="he_uniform",
                name="depthwise",
            )
            self.pointwise = keras.layers.Conv2D(filters, 1, name="pointwise", **mixing)
        else:
            self.spatial = keras.layers.Conv2D(
                filters, kernel_size, strides, name="conv", **mixing
            )
            self.pointwise = None

    def build(self, input_shape):
        self.spatial.build(input_shape)
        if self.pointwise is not None:
            self.pointwise.build(self.spatial.compute_output_shape(input_shape))
        self.built = True

    def call(self, x):
        x = self.spatial(self.padding(x))
        return x if self.pointwise is None else self.pointwise(x)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        height, width = (
            None if side is None else -(-side // self.strides) for side in sides
        )
        return (batch, height, width, self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "separable": self.separable,
            "use_bias": self.use_bias,
            "kernel_initializer": self.kernel_initializer,
        }


@keras.saving.register_keras_serializable("sfumato")
class UpsampleConv2D(keras.layers.Layer):
    """A 3 x 3 convolution over the input enlarged to twice its size, each pixel
    repeated, without padding: [B, H, W, C] to [B, 2H - 2, 2W - 2, filters].

    Resize, then convolve (Odena et al. 2016, doi 10.23915/distill.00003). Of the nine
    pixels under the kernel only four differ, so it is computed on the small input: a
    2 x 2 convolution for each of the four places that a pixel can have in its
    enlarged one, then depth to space (Shi et al. 2016, arXiv 1609.05158), at four
    ninths of the cost.
    """

    # [place, tap, row]: the rows of the 3 x 3 kernel that fall on either of two
    # neighbouring pixels, where its centre is on the later half of the first, and
    # where it is on the earlier half of the second.
    TAPS = (((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)), ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)))

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(3, 3, input_shape[-1], self.filters)
        )

    def call(self, x):
        kernel = ops.cast(self.folded(), self.compute_dtype)
        return ops.depth_to_space(ops.conv(x, kernel, padding="valid"), 2)

    def folded(self):
        """The kernel for the small input, [2, 2, C, 4 filters]."""
        taps = ops.convert_to_tensor(self.TAPS, self.kernel.dtype)
        kernel = ops.einsum("yir,xjs,rscf->ijcyxf", taps, taps, self.kernel)
        return ops.reshape(kernel, (2, 2, -1, 4 * self.filters))

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        height, width = (None if side is None else 2 * side - 2 for side in sides)
        return (batch, height, width, self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters}


@keras.saving.register_keras_serializable("sfumato")
class StyleAffine(keras.layers.Layer):
    """Scales and shifts each channel as the style embedding says.

    x [B, H, W, C] and embedding [B, E] give x * gamma + beta, with gamma and
    beta [B, C] affine in the embedding. With `normalize`, each channel of each
    image is first brought to mean 0 and variance 1: conditional instance
    normalisation (Dumoulin et al. 2017, arXiv 1610.07629). A departure: with the
    variance v, x is divided by (v + epsilon)^3/2 / v, not by (v + epsilon)^1/2. That
    is the same for any picture, but of a flat channel nothing is left to be magnified;
    a dozen such layers would make a pattern of what rounding differs by. gamma is 1
    and beta 0 before training. Statistics are taken in float32.
    """

    def __init__(self, normalize=True, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.normalize = normalize
        self.epsilon = epsilon

    def build(self, input_shapes):
        content_shape, embedding_shape = input_shapes
        channels = content_shape[-1]
        shape = (embedding_shape[-1], channels)
        self.gamma_kernel = self.add_weight(
            name="gamma_kernel", shape=shape, initializer="zeros"
        )
        self.gamma_bias = self.add_weight(
            name="gamma_bias", shape=(channels,), initializer="ones"
        )
        self.beta_kernel = self.add_weight(
            name="beta_kernel", shape=shape, initializer="zeros"
        )
        self.beta_bias = self.add_weight(
            name="beta_bias", shape=(channels,), initializer="zeros"
        )

    def call(self, inputs):
        x, embedding = inputs
        x = ops.cast(x, "float32")
        embedding = ops.cast(embedding, "float32")
        gamma = self.per_channel(_affine(embedding, self.gamma_kernel, self.gamma_bias))
        beta = self.per_channel(_affine(embedding, self.beta_kernel, self.beta_bias))
        if self.normalize:
            means = self.means(x)
            mean = means(x)
            variance = means(self.squared_difference(x, mean))
            scale = ops.rsqrt(variance + self.epsilon)
            gamma = gamma * scale * (variance * ops.square(scale))
            # Not taken from x itself: that would be one more pass over the picture.
            beta = beta - mean * gamma
        return ops.cast(x * gamma + beta, self.compute_dtype)

    def means(self, x):
        """What gives each channel's mean, [B, 1, 1, C], of an input of x's shape."""
        return spatial_mean

    squared_difference = staticmethod(squared_difference)

    def per_channel(self, values):
        """[B, C] to what multiplies or shifts x, [B, 1, 1, C]."""
        return ops.reshape(values, (-1, 1, 1, values.shape[-1]))

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return super().get_config() | {
            "normalize": self.normalize,
            "epsilon": self.epsilon,
        }


def _affine(x, kernel, bias):
    return ops.matmul(x, ops.cast(kernel, "float32")) + ops.cast(bias, "float32")
