"""The losses of style transfer: pure functions of images and features."""

from typing import Any

from keras import ops


def gram_matrix(features: Any) -> Any:
    """[B, H, W, C] to the Gram matrix over positions, FᵀF / (H W), [B, C, C].

    Gatys et al. 2015 (arXiv 1508.06576), divided by the number of positions only;
    float32. Of bfloat16 features the products are added up in float32 and the sums
    rounded to bfloat16, which takes a third of the time.
    """
    _, height, width, channels = ops.shape(features)
    products = _products(ops.reshape(features, (-1, height * width, channels)))
    return ops.cast(products, "float32") / ops.cast(height * width, "float32")


@ops.custom_gradient
def _products(flat: Any) -> Any:
    """[B, N, C] to FᵀF, [B, C, C]. A backend's own gradient multiplies by F twice,
    once for each factor, and transposes; they share one product."""

    def gradient(*args: Any, upstream: Any = None) -> Any:
        # PyTorch passes a context first.
        upstream = args[-1] if upstream is None else upstream
        return ops.matmul(flat, upstream + ops.transpose(upstream, (0, 2, 1)))

    if flat.shape[0] == 1:
        # Faster than as a batch of one.
        return ops.matmul(ops.transpose(flat[0]), flat[0])[None], gradient
    return ops.matmul(ops.transpose(flat, (0, 2, 1)), flat), gradient


def style_distance(gram: Any, target: Any) -> Any:
    """Two Gram matrices [B, C, C] to their balanced distance [B], in [0, 1]:
    ‖G − S‖² / (‖G‖² + ‖S‖²).

    The Gram loss over its upper bound, so that no style outweighs another
    (Cheng et al. 2021, arXiv 2104.10064). A Gram matrix has no negative inner
    product with another, hence the bound of 1.
    """
    difference = _mean_square(gram - target)
    return difference / (_mean_square(gram) + _mean_square(target) + EPSILON)


def content_distance(features: Any, target: Any) -> Any:
    """Two feature maps [B, H, W, C] to their distance [B]:
    mean (F − C)² / (½ mean F² + ½ mean C²). 0 for equal features, 2 for
    unrelated ones."""
    features, target = ops.cast(features, "float32"), ops.cast(target, "float32")
    scale = (_mean_square(features) + _mean_square(target)) / 2.0
    return _mean_square(features - target) / (scale + EPSILON)


def content_loss(features: Any, target: Any) -> Any:
    """Like content_distance, over the photo's own mean square alone.

    Of features whose correlation with the photo's is r it is least where they are r
    times as strong, so pictures fade; content_distance is least at equal strength.
    """
    features, target = ops.cast(features, "float32"), ops.cast(target, "float32")
    return _mean_square(features - target) / (_mean_square(target) + EPSILON)


def squared_content_loss(features: Any, target: Any) -> Any:
    """Two feature maps [B, H, W, C] to mean (F − C)², [B].

    Gatys et al. 2015 (arXiv 1508.06576), as a mean and not half the sum, as in the
    authors' later code.
    """
    features, target = ops.cast(features, "float32"), ops.cast(target, "float32")
    return _mean_square(features - target)


def squared_style_loss(gram: Any, target: Any) -> Any:
    """Two Gram matrices [B, C, C] to mean (G − S)² / C², [B].

    The unbalanced Gram loss as in the later code of Gatys et al. 2015 and in
    neural-style (Johnson 2015): a mean over the entries, divided by C². The paper's
    own has a sum and 4 in its place.
    """
    return _mean_square(gram - target) / gram.shape[-1] ** 2


def total_variation(images: Any) -> Any:
    """[B, H, W, C] to the mean squared difference of neighbours, down plus
    across, [B] (Johnson et al. 2016, arXiv 1603.08155, as a mean)."""
    images = ops.cast(images, "float32")
    return _mean_square(images[:, 1:] - images[:, :-1]) + _mean_square(
        images[:, :, 1:] - images[:, :, :-1]
    )


def checkerboard(images: Any) -> Any:
    """[B, H, W, C] to how strongly a pattern repeats at the decoder's upsampling
    periods of 2 and 4 pixels, [B]: the mean square, over patches of 32 x 32 and
    their 4 x 4 phases, of each phase's mean in the patch, less the local mean.

    In a texture that knows nothing of the grid the 64 pixels of a phase average
    out; what upsampling leaves behind (Odena et al. 2016, "Deconvolution and
    Checkerboard Artifacts", doi 10.23915/distill.00003; the measure is our own) does
    not. H and W are at least PATCH; what exceeds a multiple of it is not looked at.
    """
    images = ops.cast(images, "float32")
    _, height, width, channels = images.shape
    rows, columns = height // PATCH, width // PATCH
    local = ops.average_pool(images, PERIOD, strides=1, padding="same")
    detail = (images - local)[:, : rows * PATCH, : columns * PATCH]
    phases = ops.reshape(
        detail,
        (-1, rows, PATCH // PERIOD, PERIOD, columns, PATCH // PERIOD, PERIOD, channels),
    )
    return _mean_square(ops.mean(phases, axis=(2, 5)))


def pixel_distance(images: Any, target: Any) -> Any:
    """Two batches [B, H, W, C] to the mean absolute difference, [B], averaged over
    the images and their halved, quartered and eighth sizes, where colours and large
    forms weigh."""
    levels = zip(_pyramid(images), _pyramid(target), strict=True)
    return sum(_mean_absolute(a - b) for a, b in levels) / LEVELS


def detail_distance(images: Any, target: Any) -> Any:
    """The same of what each size has and its local mean does not: lines and grain,
    where they lie."""
    levels = zip(_details(images), _details(target), strict=True)
    return sum(_mean_absolute(a - b) for a, b in levels) / LEVELS


# How many sizes of an image are compared, each half the one before.
LEVELS = 4


def _pyramid(images: Any) -> list[Any]:
    levels = [ops.cast(images, "float32")]
    while len(levels) < LEVELS:
        levels.append(ops.average_pool(levels[-1], 2, strides=2))
    return levels


def _details(images: Any) -> list[Any]:
    return [
        level - ops.average_pool(level, 3, strides=1, padding="same")
        for level in _pyramid(images)
    ]


# What two upsamplings by 2 repeat, and how far such a pattern is taken to be even.
PERIOD = 4
PATCH = 32

# Keeps a distance between two blank images at 0 instead of 0 / 0.
EPSILON = 1e-8


def _mean_absolute(values: Any) -> Any:
    return ops.mean(ops.absolute(values), axis=tuple(range(1, len(values.shape))))


def _mean_square(values: Any) -> Any:
    return ops.mean(ops.square(values), axis=tuple(range(1, len(values.shape))))
