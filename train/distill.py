"""Teaches a model of any width what another network paints, from that network's
pictures alone."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from sfumato.images import to_float, to_uint8
from sfumato.model import STYLE_SIZE, StyleModel
from train import losses
from train.data import ImageFolder, StyleTransferDataset
from train.fit import Task, Trainer, distribution, samples, train
from train.methods import MethodError, Stylize, by_model, by_name
from train.recipe import Phase, Recipe
from train.sheet import comparison

# Photos and styles of the preview sheet.
SHOWN = 3


@dataclass(frozen=True)
class Imitation:
    """Weights of the loss terms between the student's pictures and the teacher's:
    losses.pixel_distance and detail_distance, and losses.style_distance of the
    features that a predictor reads styles off."""

    pixels: float
    details: float
    features: float


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
    """A Trainer whose loss is the distance of its picture to the teacher's (Hinton et
    al. 2015, arXiv 1503.02531), without any network that knows photos. The features
    are those of `reader`, a predictor, after batch normalisation: around zero, so
    that their Gram matrices tell more than how bright a picture is."""

    def __init__(
        self,
        model: StyleModel,
        loss: Imitation,
        reader: keras.Model,
        replicas: int = 1,
    ):
        super().__init__(model, vars(loss), replicas)
        self.weights_of = loss
        features = keras.Model(
            reader.input,
            [
                layer.output
                for layer in reader.layers
                if isinstance(layer, keras.layers.BatchNormalization)
            ],
        )
        # A closure, because an attribute would become part of the saved weights.
        self.grams = lambda images: [
            losses.gram_matrix(stage) for stage in features(images, training=False)
        ]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        target = x["target"]
        stages = zip(self.grams(y_pred), self.grams(target), strict=True)
        distances = [losses.style_distance(*stage) for stage in stages]
        values = {
            "pixels": losses.pixel_distance(y_pred, target),
            "details": losses.detail_distance(y_pred, target),
            "features": sum(distances) / len(distances),
        }
        for name, value in values.items():
            self.terms[name].update_state(value)
        weights = vars(self.weights_of)
        total = sum(weights[name] * ops.mean(value) for name, value in values.items())
        return total / self.replicas


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
