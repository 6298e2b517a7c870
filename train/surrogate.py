"""A small network that says from an embedding, and from how a photo looks to VGG-16,
how the painted photo will look to it: instead of the transformer and VGG-16, at next to
no cost.

To learn by a cheap model of what is costly to evaluate is an old idea (Forrester &
Keane 2009, "Recent advances in surrogate-based optimization", doi
10.1016/j.paerosci.2008.11.001); that of Gram matrices is our own.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from train.collect import Arrays, Stopped
from train.fit import compiler
from train.recipe import Loss
from train.run import progress_bar, stop_on_signal

WIDTH = 768
DROPOUT = 0.05
LEARNING_RATE = 1.5e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.02
BATCH = 128
EPOCHS = 25
# A photo is described by so many coordinates of each layer, and the norms.
DESCRIBED = 32
# Every so many-th photo and style is not learned from.
HELD_OUT = 14
# What else is predicted, and what keeps the logarithms finite.
TERMS = {"content": 0.0, "total_variation": 1e-5, "checkerboard": 1e-8}


def described(photos: Arrays) -> np.ndarray:
    """Looks at photos (see train.collect.Collection) to what the surrogate is told of
    each, [n, D]: the first coordinates of their Gram matrices at norm 1, and the
    logarithms of the norms, all standardised over the photos."""
    norms = np.sqrt(photos["squares"])[..., None]
    parts = photos["coordinates"][..., :DESCRIBED] / norms, np.log(norms)
    told = np.concatenate(parts, axis=-1).reshape(len(norms), -1)
    return (told - told.mean(0)) / (told.std(0) + 1e-3)


def terms(predicted: Any, styles: Any, loss: Loss) -> dict[str, Any]:
    """What the surrogate predicts, [B, P], and looks at the styles, "coordinates"
    [B, L, K] and "squares" [B, L], to the terms of the loss by name, [B] each."""
    count, components = styles["coordinates"].shape[1:]
    split = [count * components, count * (components + 1)]
    coordinates, norms, logarithms = ops.split(predicted, split, axis=-1)
    norms = ops.exp(norms)
    coordinates = ops.reshape(coordinates, (-1, count, components))
    products = norms * ops.sum(coordinates * styles["coordinates"], axis=-1)
    distances = 1.0 - 2.0 * products / (ops.square(norms) + styles["squares"])
    return {
        name: ops.exp(logarithms[:, i]) - least
        for i, (name, least) in enumerate(TERMS.items())
    } | {layer: distances[:, i] for i, layer in enumerate(loss.style_layers)}


def styles_of(
    painted: Arrays, looks: dict[str, Arrays], names: Iterable[str]
) -> Arrays:
    """The named looks at the styles of painted photos, not mixed, [n, ...] each; looks:
    at "styles" and "photos"."""
    own, style = painted["own"], painted["style"]
    found = {}
    for name in names:
        found[name] = looks["styles"][name][np.where(own, 0, style)]
        found[name][own] = looks["photos"][name][style[own]]
    return found


def surrogate(path: Path, loss: Loss, looks: dict[str, Arrays]) -> keras.Model:
    """The network of [embeddings [B, E], descriptions of photos [B, D]] to predictions
    [B, P] as in `targets`: from the file, or learned of looks at "photos", "styles" and
    "painted" photos, with progress, and written there. Prints how much of the terms'
    variance it explains. Stopped, on Ctrl-C and SIGTERM.

    All the coordinates of a layer together weigh as much in its loss as each other
    prediction, in units of their variance.
    """
    if path.exists():
        return keras.models.load_model(path, compile=False)
    painted = looks["painted"]
    wanted = targets(painted)
    groups = np.repeat(*_groups(painted))
    held_out = (painted["photo"] % HELD_OUT == 0) | (painted["style"] % HELD_OUT == 0)
    inputs = [painted["embedding"], described(looks["photos"])[painted["photo"]]]
    network = _network(inputs, wanted[~held_out], groups)
    steps = EPOCHS * int(np.ceil(np.sum(~held_out) / BATCH))
    variances = np.bincount(groups, wanted[~held_out].var(0))
    weights = (1.0 / variances[groups]).astype(np.float32)
    network.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0,
                steps - min(WARMUP_STEPS, steps // 2),
                warmup_target=LEARNING_RATE,
                warmup_steps=min(WARMUP_STEPS, steps // 2),
            ),
            weight_decay=WEIGHT_DECAY,
        ),
        loss=lambda y, predicted: ops.sum(weights * ops.square(y - predicted), axis=1),
        jit_compile=compiler(),
    )
    with progress_bar() as bar, stop_on_signal(network):
        task = bar.add_task("surrogate", total=steps, rate="")
        network.fit(
            [values[~held_out] for values in inputs],
            wanted[~held_out],
            BATCH,
            EPOCHS,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_train_batch_end=lambda batch, logs: bar.advance(task)
                )
            ],
        )
    if network.stop_training:
        raise Stopped
    styles = styles_of(painted, looks, ("coordinates", "squares"))
    for name, chosen in {"learned from": ~held_out, "held out": held_out}.items():
        predicted = network.predict([v[chosen] for v in inputs], BATCH, verbose=0)
        of = {key: value[chosen] for key, value in styles.items()}
        guess, truth = (
            terms(values, of, loss) for values in (predicted, wanted[chosen])
        )
        explained = {
            term: 1.0
            - np.mean(np.square(guess[term] - truth[term])) / np.var(truth[term])
            for term in guess
        }
        listed = "  ".join(f"{term} {share:.3f}" for term, share in explained.items())
        print(f"Variance explained, {name} ({chosen.sum()}): {listed}")
    new = path.with_name(f"new-{path.name}")
    # Without what it learned by.
    keras.Model(network.inputs, network.outputs).save(new)
    os.replace(new, path)
    return network


def _groups(painted: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of what is predicted: each layer's coordinates are one, each other
    prediction is one; and how many predictions each has."""
    count, components = painted["coordinates"].shape[1:]
    sizes = [components] * count + [1] * (count + len(TERMS))
    return np.arange(len(sizes)), np.array(sizes)


def targets(painted: Arrays) -> np.ndarray:
    """Looks at painted photos to what the surrogate is to predict of them, [n, P]: the
    coordinates of the Gram matrices at norm 1, the logarithms of the norms and those
    of TERMS."""
    norms = np.sqrt(painted["squares"])
    units = painted["coordinates"] / norms[..., None]
    logarithms = [np.log(painted[name] + least) for name, least in TERMS.items()]
    parts = [units.reshape(len(units), -1), np.log(norms), np.stack(logarithms, axis=1)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _network(
    inputs: list[np.ndarray], wanted: np.ndarray, groups: np.ndarray
) -> keras.Model:
    embedding, photo = (keras.Input(values.shape[1:]) for values in inputs)
    mean, variance = inputs[0].mean(0), inputs[0].var(0)
    x = layers.Normalization(mean=mean, variance=variance)(embedding)
    x = layers.Concatenate()([x, photo])
    x = layers.Dense(WIDTH, "gelu")(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.Dense(WIDTH, "gelu")(y)
        y = layers.Dropout(DROPOUT)(y)
        x = x + layers.Dense(WIDTH)(y)
    x = layers.Dense(wanted.shape[1])(layers.LayerNormalization()(x))
    # Of a group all predictions are in the same units.
    spread = (np.bincount(groups, wanted.var(0)) / np.bincount(groups))[groups]
    x = layers.Normalization(mean=wanted.mean(0), variance=spread, invert=True)(x)
    return keras.Model([embedding, photo], x)
