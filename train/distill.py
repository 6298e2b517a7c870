"""Teaches a model of any width what another network paints, from that network's
pictures."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from sfumato.images import to_float, to_uint8
from sfumato.model import STYLE_SIZE, StyleModel
from train import losses
from train.data import ImageFolder, StyleTransferDataset
from train.evaluate import VGG_CONTENT, VGG_STYLE
from train.fit import Task, Trainer, distribution, samples, train
from train.methods import MethodError, Stylize, by_model, by_name
from train.recipe import Phase, Recipe
from train.sheet import comparison
from train.vgg import build_vgg16

# Photos and styles of the preview sheet.
SHOWN = 3


@dataclass(frozen=True)
class Imitation:
    """Weights of the loss terms between the student's pictures and the teacher's:
    losses.pixel_distance and detail_distance, and losses.style_distance of the
    features that a predictor reads styles off.

    content, style: of losses.content_loss and style_distance between the student's
    pictures and the photo and the style themselves, through VGG-16 as `evaluate`
    looks. Without either VGG-16 is not needed.
    """

    pixels: float
    details: float
    features: float
    content: float = 0.0
    style: float = 0.0

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that are wanted."""
        return {name: weight for name, weight in vars(self).items() if weight}


class TaughtDataset(StyleTransferDataset):
    """Batches {"content", "style", "target"}: what the teacher makes of each photo
    in its style, [batch, size, size, 3] in [0, 1].

    Styles are STYLE_SIZE pixels a side, at which networks look at them: a teacher
    that enlarges a smaller one finds strokes in it that the student does not see.
    """

    def __init__(self, teacher: Stylize, *arguments):
        super().__init__(*arguments)
        self.teacher = teacher
        self.style_size = STYLE_SIZE

    def images(self, step: int) -> dict[str, np.ndarray]:
        batch = super().images(step)
        pairs = zip(to_uint8(batch["content"]), to_uint8(batch["style"]), strict=True)
        target = [painted(self.teacher, *pair) for pair in pairs]
        return batch | {"target": to_float(np.stack(target))}


class Distillation(Trainer):
    """A Trainer whose loss is the distance of its picture to the teacher's and, where
    the Imitation says so, to what the teacher was given: soft targets beside true ones
    (Hinton et al. 2015, arXiv 1503.02531).

    The teacher's features are those of `reader`, a predictor, after batch
    normalisation: around zero, so that their Gram matrices tell more than how bright a
    picture is.
    """

    def __init__(
        self,
        model: StyleModel,
        loss: Imitation,
        reader: keras.Model,
        replicas: int = 1,
    ):
        super().__init__(model, loss.weights, replicas)
        self.weights_of = loss
        features = keras.Model(
            reader.input,
            [
                layer.output
                for layer in reader.layers
                if isinstance(layer, keras.layers.BatchNormalization)
            ],
        )
        # Closures, because attributes would become part of the saved weights.
        self.features = lambda images: features(images, training=False)
        if loss.content or loss.style:
            vgg = build_vgg16(VGG_STYLE)
            self.seen = lambda images: vgg(images)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        target = x["target"]
        values = {
            "pixels": losses.pixel_distance(y_pred, target),
            "details": losses.detail_distance(y_pred, target),
            "features": _style_distance(self.features(y_pred), self.features(target)),
        }
        if self.weights_of.content or self.weights_of.style:
            values |= self.true_values(x, y_pred)
        weights = self.weights_of.weights
        for name in weights:
            self.terms[name].update_state(values[name])
        total = sum(weight * ops.mean(values[name]) for name, weight in weights.items())
        return total / self.replicas

    def true_values(self, x, y_pred):
        """The terms whose targets are the photo and the style, by name, [B] each."""
        stylized, content, style = (
            self.seen(images) for images in (y_pred, x["content"], x["style"])
        )
        return {
            "content": losses.content_loss(
                stylized[VGG_CONTENT], ops.stop_gradient(content[VGG_CONTENT])
            ),
            "style": _style_distance(
                [stylized[layer] for layer in VGG_STYLE],
                [ops.stop_gradient(style[layer]) for layer in VGG_STYLE],
            ),
        }


def _style_distance(features, target):
    """Two lists of features [B, h, w, C] to the mean of the style distances, [B]."""
    distances = [
        losses.style_distance(losses.gram_matrix(one), losses.gram_matrix(other))
        for one, other in zip(features, target, strict=True)
    ]
    return sum(distances) / len(distances)


def distill(
    recipe: Recipe,
    teacher_name: str,
    content_folder: Path,
    style_folder: Path,
    start: Path,
    out: Path,
    resume: bool = False,
    log_every: int = 100,
    save_every: int = 1000,
) -> bool:
    """Trains the recipe's networks on a teacher's pictures of photos in paintings;
    True when done, False when stopped. OUT is as for train.fit.train; its samples
    show the teacher's pictures beside the student's.

    recipe: with an Imitation for its loss. teacher_name: as train.methods.by_name
    takes it. start: the folder of a model that the student inherits weights from
    (see train.inherit) and whose predictor reads the features. MethodError where the
    teacher's pictures have another size than the photos.
    """
    content, style = ImageFolder(content_folder), ImageFolder(style_folder)
    strategy = distribution()
    before = StyleModel.load(start)
    teacher = by_name(teacher_name)
    for folder in (content, style):
        folder.report_skipped()
    photos, styles = (
        {str(index): image for index, image in enumerate(images[:SHOWN])}
        for images in samples(content, style, recipe)
    )
    for phase in recipe.phases:
        size = slice(phase.size)
        painted(teacher, photos["0"][size, size], styles["0"][size, size])

    def dataset(phase: Phase, first: int, steps: int) -> StyleTransferDataset:
        folders = (content, style)
        return TaughtDataset(
            teacher, *folders, phase.size, phase.batch, first, steps, recipe.seed
        )

    task = Task(
        recipe,
        trainer=lambda model, replicas: Distillation(
            model, recipe.loss, before.predictor, replicas
        ),
        dataset=dataset,
        sheet=lambda model: comparison(
            {"teacher": teacher, "student": by_model(model)}, photos, styles
        ),
        card={
            "teacher": teacher_name,
            "start": start.name,
            "photos": len(content.paths),
            "paintings": len(style.paths),
        },
        start=before,
        source=f"{teacher_name} and {start}",
    )
    return train(task, out, resume, strategy, log_every, save_every)


def painted(teacher: Stylize, photo: np.ndarray, style: np.ndarray) -> np.ndarray:
    """What the teacher makes of the photo, uint8 [H, W, 3] of the photo's size."""
    picture = teacher(("photo", "style"), photo, style)
    if picture.shape != photo.shape:
        raise MethodError(
            f"The teacher makes a picture of the shape {list(picture.shape)} from a "
            f"photo of {list(photo.shape)}: a student can only learn from one that "
            "keeps the photo's size."
        )
    return picture
