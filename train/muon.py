"""Muon for networks of convolutions."""

from typing import Any

import keras
from keras import ops


class Muon(keras.optimizers.Muon):
    """Moves each kernel along its momentum made orthogonal, so that no few directions
    take the whole step (Jordan et al. 2024, kellerjordan.github.io/posts/muon), by as
    much in root mean square as Adam would at the same rate (Liu et al. 2025, arXiv
    2502.16982). A convolution's kernel [height, width, in, out] is the matrix [height
    width in, out]. Keras' own (3.15) leaves these to Adam, as this does all that is no
    matrix: vectors, depthwise kernels, and kernels to or from the three colours. No
    weights decay.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(weight_decay=None, adam_weight_decay=None, **kwargs)

    def _should_use_adamw(self, variable: Any) -> bool:
        return variable.name != "kernel" or min(variable.shape[-2:]) <= 3

    def _muon_update_step(self, gradient, variable, lr, m) -> None:
        self.assign(m, self.momentum * m + gradient)
        ahead = gradient + self.momentum * m
        matrix = ops.reshape(ahead, (-1, ahead.shape[-1]))
        update = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        step = ops.reshape(self.lr_adjust(lr * update), ahead.shape)
        self.assign_sub(variable, step)
