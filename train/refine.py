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
from train.surrogate import described, styles_of, surrogate, targets, terms


@dataclass(frozen=True)
class HeldLoss(Loss):
    """held: the weight of the mean square, in standard deviations, of how far an
    embedding has moved. Without it embeddings run to where the surrogate is wrong."""

    held: float


class CollectedDataset(StyleTransferDataset):
    """Batches of what was painted under the predictor's own embeddings: {"style" images
    [B, H, W, 3] in [0, 1], "coordinates" [B, L, K] and "rest" [B, L], their Gram
    matrices in the basis and the square norms outside of it, "mix" [B] as in
    StyleTransferDataset, "photo" [B, D], the description of each photo, "embedding"
    [B, E], that it was painted under, and "seen" [B, P], what came of it, as
    train.surrogate.targets says}."""

    def __init__(self, collection: Collection, *arguments):
        super().__init__(collection.data.content, collection.data.style, *arguments)
        self.painted = collection.unmoved()
        self.seen = targets(self.painted)
        self.looks = {name: collection.load(name) for name in ("styles", "photos")}
        self.described = described(self.looks["photos"])
        for looks in self.looks.values():
            beyond = looks["images"].shape[1] - self.size
            looks["images"] = window(looks["images"], beyond)
            kept = np.square(looks["coordinates"]).sum(-1)
            looks["rest"] = looks["squares"] - kept

    def images(self, step: int) -> Arrays:
        random = np.random.default_rng([self.seed, step])
        batches = random.choice(len(self.seen) // BATCH, self.batch // BATCH, False)
        chosen = (batches[:, None] * BATCH + np.arange(BATCH)).ravel()
        painted = {name: values[chosen] for name, values in self.painted.items()}
        style = styles_of(painted, self.looks, ("images", "coordinates", "rest"))
        return {
            "style": to_float(style["images"]),
            "coordinates": style["coordinates"],
            "rest": style["rest"],
            "mix": painted["mix"],
            "photo": self.described[painted["photo"]],
            "embedding": painted["embedding"],
            "seen": self.seen[chosen],
        }


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
        self.surrogate = lambda *inputs: network([*inputs], training=False)

    def call(self, inputs, training=False):
        return self.embed(inputs, training and not self.frozen_statistics)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        embedding = ops.cast(y_pred, "float32")
        moved = (embedding - x["embedding"]) / self.spread
        # What was seen, and what the surrogate says that the move changed: its error at
        # the start would else be larger than the distances of the first layer.
        change = self.surrogate(embedding, x["photo"])
        change -= self.surrogate(x["embedding"], x["photo"])
        values = terms(x["seen"] + change, mixed_looks(x), self.weights_of)
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
    if phase.batch % BATCH:
        raise RecipeError(
            f"{recipe.name} has batches of {phase.batch}; make it a multiple of "
            f"{BATCH}, in which photos are painted."
        )
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
        looks = {n: collection.load(n) for n in ("photos", "styles", "painted")}
        out.mkdir(parents=True, exist_ok=True)
        network = surrogate(out / "surrogate.keras", recipe.loss, looks)
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
