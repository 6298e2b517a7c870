"""Adapts a model to a few pictures of one's own, without losing the other styles."""

import json
from pathlib import Path

import numpy as np
from keras import ops

from sfumato.images import to_float
from sfumato.model import STYLE_SIZE, StyleModel
from train import losses
from train.data import ImageFolder, StyleTransferDataset, crop, recolour
from train.evaluate import square
from train.fit import StyleTransfer, Task, distribution, train
from train.methods import by_model
from train.recipe import Loss, Phase, Recipe
from train.sheet import comparison

GALLERY = Path(__file__).parent.parent / "web" / "public" / "gallery"
# Photos and pictures of the preview sheet.
SHOWN_PHOTOS = 2
SHOWN_STYLES = 3
# How much more it weighs to lose of a photo what was not lost before.
HELD = 4.0


class RehearsingDataset(StyleTransferDataset):
    """Batches {"content", "style", "rehearsed"}: half of each batch's styles, rounded
    up, are the user's own pictures as they are; the others come from `others`, half
    of them recoloured, and are marked by 1 in `rehearsed`, float32 [batch]."""

    def __init__(self, others: ImageFolder, *arguments):
        super().__init__(*arguments)
        self.others = others

    def images(self, step: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng([self.seed, step])
        own = (self.batch + 1) // 2
        content = self.photos(step, random)
        style = [
            crop(self.style.draw(number, self.seed + 1), self.size, random)
            for number in range(step * own, (step + 1) * own)
        ]
        rest = self.batch - own
        style += [
            recolour(
                crop(self.others.draw(number, self.seed + 2), self.size, random),
                random,
            )
            for number in range(step * rest, (step + 1) * rest)
        ]
        return {
            "content": to_float(np.stack(content)),
            "style": to_float(np.stack(style)),
            "rehearsed": np.repeat([0, 1], [own, rest]).astype(np.float32),
        }


class FineTuning(StyleTransfer):
    """The loss of StyleTransfer, but a rehearsed image is held to what the model
    painted before: that picture stands in for its photo and for its style (learning
    without forgetting, Li & Hoiem 2016, arXiv 1606.09282, with the features of
    VGG-16 in place of class probabilities). And a picture of one's own that keeps
    less of its photo than the model kept before pays HELD times for the difference:
    what the style gains must not come at the photo's cost."""

    def __init__(self, model: StyleModel, loss: Loss, before: StyleModel, replicas=1):
        super().__init__(model, loss, replicas)
        # A closure, because an attribute would become part of the saved weights.
        self.before = lambda content, style: before.transformer(
            [content, before.predictor(style, training=False)], training=False
        )

    def targets(self, x):
        painted = self.before(x["content"], x["style"])
        rehearsed = ops.reshape(x["rehearsed"], (-1, 1, 1, 1))
        reference = {
            name: ops.where(rehearsed > 0, painted, x[name])
            for name in ("content", "style")
        }
        return super().targets(reference)

    def values(self, x, y_pred):
        values = super().values(x, y_pred)
        layer = self.weights_of.content_layer
        photo = self.features(x["content"])[layer]
        painted = self.features(self.before(x["content"], x["style"]))[layer]
        lost = values["content"] - losses.content_distance(painted, photo)
        own = 1.0 - x["rehearsed"]
        return values | {"content": values["content"] + HELD * own * ops.relu(lost)}


def finetune(
    recipe_name: str,
    bundle: Path,
    style_folder: Path,
    content_folder: Path | None,
    out: Path,
    resume: bool = False,
    steps: int | None = None,
    log_every: int = 20,
    save_every: int = 100,
) -> bool:
    """Trains a model on from its weights, on the pictures of `style_folder`; True
    when done, False when stopped. OUT is as for train.fit.train; its samples show
    photos in the user's pictures, before and after.

    content_folder: photos, or None for those of the page's gallery. The styles that
    are rehearsed are the gallery's, and the photos taken for paintings. steps:
    instead of the recipe's.
    """
    style = ImageFolder(style_folder, STYLE_SIZE)
    others = ImageFolder(GALLERY, STYLE_SIZE)
    if content_folder is None:
        content = ImageFolder(GALLERY, STYLE_SIZE)
        content.paths = _photos()
    else:
        content = ImageFolder(content_folder, STYLE_SIZE)
        content.report_skipped()
        others.paths += content.paths
    style.report_skipped()
    strategy = distribution()
    before = StyleModel.load(bundle)
    recipe = Recipe.load(recipe_name, networks=before.manifest, phase=Phase)
    recipe = recipe.lasting(steps)
    photos, styles = (
        {path.name: square(path, STYLE_SIZE) for path in folder.paths[:count]}
        for folder, count in ((content, SHOWN_PHOTOS), (style, SHOWN_STYLES))
    )

    def dataset(phase: Phase, first: int, steps: int) -> StyleTransferDataset:
        return RehearsingDataset(
            others, content, style, phase.size, phase.batch, first, steps, recipe.seed
        )

    task = Task(
        recipe,
        trainer=lambda model, replicas: FineTuning(
            model, recipe.loss, before, replicas
        ),
        dataset=dataset,
        sheet=lambda model: comparison(
            {"before": by_model(before), "after": by_model(model)}, photos, styles
        ),
        card={
            "start": bundle.name,
            "photos": len(content.paths),
            "paintings": len(style.paths),
        },
        start=before,
        source=str(bundle),
    )
    return train(task, out, resume, strategy, log_every, save_every)


def _photos() -> list[Path]:
    """The gallery's photos, in its order."""
    entries = json.loads((GALLERY / "gallery.json").read_text())
    return [GALLERY / entry["file"] for entry in entries if entry["kind"] == "photo"]
