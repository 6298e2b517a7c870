"""Trains a predictor on through a surrogate of the transformer and VGG-16: of many more
styles than it could be shown through these, at the cost of the predictor alone."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from sfumato.images import to_float
from sfumato.model import StyleModel
from train.collect import BATCH, Arrays, CollectedPhase, Collection, Stopped, window
from train.data import ImageFolder, StyleTransferDataset
from train.fit import Task, Trainer, distribution, mixed, samples, train, weighted
from train.recipe import Loss, Recipe, RecipeError
from train.sheet import sheet
from train.surrogate import described, surrogate, terms

# In a batch every so many-th style is the photo's own, and the one before it is for the
# same photo, so that it is mixed with the photo's own as a lower strength does.
OWN = 6


@dataclass(frozen=True)
class HeldLoss(Loss):
    """held: the weight of the mean square, in standard deviations, of how far an
    embedding has moved. Without it embeddings run to where the surrogate is wrong."""

    held: float


class CollectedDataset(StyleTransferDataset):
    """Batches of what was collected: {"style" images [B, H, W, 3] in [0, 1],
    "photo" [B, D], the description of one for each, "coordinates" [B, L, K] and "rest"
    [B, L] of the styles' Gram matrices, the square norm outside of the basis, "before",
    their embeddings [B, E], and "mix" [B] as in StyleTransferDataset}."""

    def __init__(self, collection: Collection, *arguments):
        super().__init__(collection.data.content, collection.data.style, *arguments)
        self.looks = [collection.load(name) for name in ("styles", "photos")]
        self.described = described(self.looks[1])
        beyond = self.looks[1]["images"].shape[1] - self.size
        self.looks[1]["images"] = window(self.looks[1]["images"], beyond)
        names = ("styles", "photos")
        for looks, name in zip(self.looks, names, strict=True):
            kept = np.square(looks["coordinates"]).sum(-1)
            looks["rest"] = looks["squares"] - kept
            looks["before"] = collection.embeddings[name]

    def images(self, step: int) -> Arrays:
        random = np.random.default_rng([self.seed, step])
        styles, photos = self.looks
        style = random.integers(0, len(styles["images"]), self.batch)
        photo = random.integers(0, len(photos["images"]), self.batch)
        own = np.arange(self.batch) % OWN == 1
        photo[own] = photo[np.roll(own, -1)]
        mix = random.random(self.batch, np.float32)
        mix[random.random(self.batch) >= self.mixed] = 0.0
        batch = {}
        for name in ("images", "coordinates", "rest", "before"):
            batch[name] = styles[name][style]
            batch[name][own] = photos[name][photo[own]]
        images = to_float(batch.pop("images"))
        return batch | {"style": images, "photo": self.described[photo], "mix": mix}


class Refinement(Trainer):
    """A batch of CollectedDataset to its embeddings [B, E]. The loss is StyleTransfer's
    as the surrogate says, and `held` of HeldLoss; only the predictor learns."""

    def __init__(
        self,
        model: StyleModel,
        loss: HeldLoss,
        network: keras.Model,
        spread: np.ndarray,
        replicas: int = 1,
    ):
        plain = ("total_variation", "checkerboard", "held")
        super().__init__(model, ["content", *loss.style_layers, *plain], replicas)
        model.transformer.trainable = False
        self.weights_of = loss
        self.spread = spread
        # A closure, because an attribute would become part of the saved weights.
        self.predict_terms = lambda *inputs: network([*inputs], training=False)

    def call(self, inputs, training=False):
        return self.embed(inputs, training and not self.frozen_statistics)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        embedding = ops.cast(y_pred, "float32")
        moved = (embedding - mixed(x["before"], x)) / self.spread
        predicted = self.predict_terms(embedding, x["photo"])
        values = terms(predicted, mixed_looks(x), self.weights_of)
        values["held"] = ops.mean(ops.square(moved), axis=-1)
        for name, value in values.items():
            self.terms[name].update_state(value)
        total = weighted(self.weights_of, values)
        total += self.weights_of.held * ops.mean(values["held"])
        return total / self.replicas


def mixed_looks(batch):
    """The looks at a batch's styles, mixed as it says. What lies outside of the basis
    is taken to be at a right angle to that of another style."""
    coordinates = mixed(batch["coordinates"], batch)
    share, rest = batch["mix"][:, None], batch["rest"]
    rest = ops.square(1.0 - share) * rest + ops.square(share) * ops.roll(rest, -1, 0)
    squares = ops.sum(ops.square(coordinates), axis=-1) + rest
    return {"coordinates": coordinates, "squares": squares}


def refine(
    recipe_name: str,
    bundle: Path,
    content_folder: Path,
    style_folder: Path,
    out: Path,
    collected: Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    log_every: int = 50,
    save_every: int = 200,
) -> bool:
    """Trains a model's predictor on by the recipe; True when done, False when stopped.
    OUT is as for train.fit.train, and OUT/surrogate.keras what it learns through.

    collected: the folder of the Collection, or None for OUT/collected. To go on from
    OUT/model with the same folder teaches the next surrogate what the first one did
    not know. steps: instead of the recipe's.
    """
    content, style = ImageFolder(content_folder), ImageFolder(style_folder)
    strategy = distribution()
    before = StyleModel.load(bundle)
    recipe = Recipe.load(recipe_name, HeldLoss, before.manifest, CollectedPhase)
    recipe = recipe.lasting(steps)
    if len(recipe.phases) != 1:
        raise RecipeError(f"{recipe.name} has {len(recipe.phases)} phases, not one.")
    (phase,) = recipe.phases
    assert isinstance(phase, CollectedPhase)
    for folder in (content, style):
        folder.report_skipped()
    shown = samples(content, style, recipe)
    crops = StyleTransferDataset(
        content,
        style,
        phase.size,
        BATCH,
        first_step=0,
        steps=0,
        seed=recipe.seed,
        drawn=phase.drawn,
        beyond=phase.beyond,
    )
    collection = Collection(
        out / "collected" if collected is None else collected,
        before,
        recipe.loss,
        phase,
        crops,
    )
    try:
        collection.collect()
        looks = [collection.load(name) for name in ("photos", "styles", "painted")]
        out.mkdir(parents=True, exist_ok=True)
        network = surrogate(out / "surrogate.keras", recipe.loss, *looks)
    except Stopped:
        print("Stopped; the same command goes on from here.")
        return False
    spread = collection.embeddings["styles"].std(0)
    task = Task(
        recipe,
        trainer=lambda model, replicas: Refinement(
            model, recipe.loss, network, spread, replicas
        ),
        dataset=lambda phase, first, steps: CollectedDataset(
            collection,
            phase.size,
            phase.batch,
            first,
            steps,
            recipe.seed,
            phase.mixed,
        ),
        sheet=lambda model: sheet(model, *shown),
        card={
            "start": bundle.name,
            "photos": len(content.paths),
            "paintings": len(style.paths),
        },
        start=before,
        source=str(bundle),
    )
    return train(task, out, resume, strategy, log_every, save_every)
