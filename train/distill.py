"""Teaches a model of any width what another network paints, from that network's
pictures alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import ops

from sfumato.images import to_float, to_uint8
from sfumato.model import StyleModel
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
    """Weights of the loss terms: losses.pixel_distance, detail_distance and
    texture_distance between the student's pictures and the teacher's."""

    pixels: float
    details: float
    textures: float


class TaughtDataset(StyleTransferDataset):
    """Batches {"content", "style", "target"}: what the teacher makes of each photo
    in its style, [batch, size, size, 3] in [0, 1]."""

    def __init__(self, teacher: Stylize, *arguments):
        super().__init__(*arguments)
        self.teacher = teacher

    def images(self, step: int) -> dict[str, np.ndarray]:
        batch = super().images(step)
        pairs = zip(to_uint8(batch["content"]), to_uint8(batch["style"]), strict=True)
        target = [painted(self.teacher, *pair) for pair in pairs]
        return batch | {"target": to_float(np.stack(target))}


class Distillation(Trainer):
    """A Trainer whose loss is the distance of its picture to the teacher's (Hinton et
    al. 2015, arXiv 1503.02531), without any pretrained network."""

    def __init__(self, model: StyleModel, loss: Imitation, replicas: int = 1):
        super().__init__(model, vars(loss), replicas)
        self.weights_of = loss

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        target = x["target"]
        values = {
            "pixels": losses.pixel_distance(y_pred, target),
            "details": losses.detail_distance(y_pred, target),
            "textures": losses.texture_distance(y_pred, target),
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
    out: Path,
    resume: bool = False,
    log_every: int = 100,
    save_every: int = 1000,
) -> bool:
    """Trains the recipe's networks on a teacher's pictures of photos in paintings;
    True when done, False when stopped. OUT is as for train.fit.train; its samples
    show the teacher's pictures beside the student's.

    recipe: with an Imitation for its loss. teacher_name: as train.methods.by_name
    takes it. MethodError where the teacher's pictures have another size than the
    photos.
    """
    content, style = ImageFolder(content_folder), ImageFolder(style_folder)
    strategy = distribution()
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
        trainer=lambda model, replicas: Distillation(model, recipe.loss, replicas),
        dataset=dataset,
        sheet=lambda model: comparison(
            {"teacher": teacher, "student": by_model(model)}, photos, styles
        ),
        card={
            "teacher": teacher_name,
            "photos": len(content.paths),
            "paintings": len(style.paths),
        },
        source=teacher_name,
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
