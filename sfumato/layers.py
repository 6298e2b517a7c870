"""The building blocks that the predictor and the transformer share."""

import keras
from keras import ops


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
        border = self.kernel_size // 2
        x = ops.pad(
            x, [[0, 0], [border, border], [border, border], [0, 0]], mode="reflect"
        )
        x = self.spatial(x)
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
class StyleAffine(keras.layers.Layer):
    """Scales and shifts each channel as the style embedding says.

    x [B, H, W, C] and embedding [B, E] give x * gamma + beta, with gamma and
    beta [B, C] affine in the embedding. With `normalize`, each channel of each
    image is first brought to mean 0 and variance 1: conditional instance
    normalisation (Dumoulin et al. 2017, arXiv 1610.07629). gamma is 1 and beta 0
    before training. Statistics are taken in float32.
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
        gamma = self._per_channel(embedding, self.gamma_kernel, self.gamma_bias)
        beta = self._per_channel(embedding, self.beta_kernel, self.beta_bias)
        if self.normalize:
            x -= ops.mean(x, axis=(1, 2), keepdims=True)
            variance = ops.mean(ops.square(x), axis=(1, 2), keepdims=True)
            gamma = gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast(x * gamma + beta, self.compute_dtype)

    @staticmethod
    def _per_channel(embedding, kernel, bias):
        kernel, bias = ops.cast(kernel, "float32"), ops.cast(bias, "float32")
        values = ops.matmul(embedding, kernel) + bias
        return ops.reshape(values, (-1, 1, 1, values.shape[-1]))

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return super().get_config() | {
            "normalize": self.normalize,
            "epsilon": self.epsilon,
        }
