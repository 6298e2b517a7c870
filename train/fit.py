"""Trains a predictor and a transformer together on photos and paintings."""

import contextlib
import dataclasses
import functools
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sfumato.images import encode
from sfumato.model import StyleModel
from train import losses, workers
from train.data import ImageFolder, StyleTransferDataset, crop
from train.inherit import inherit
from train.muon import Muon
from train.recipe import Loss, Recipe
from train.run import (
    STATE,
    Checkpoints,
    Progress,
    TrainingError,
    averaged,
    steps_done,
    stop_on_signal,
)
from train.sheet import sheet
from train.vgg import build_vgg16

RUN = "run.json"
MODEL = "model"
# The averaged networks at each checkpoint, by step: what a curve of scores needs.
HISTORY = "history"
# Photos and paintings of the sample sheet; they are never trained on.
SAMPLES = 5
# What a batch is split among.
DEVICE = "GPU"
# Of the moving mean of the embeddings, for each batch.
MOMENTUM = 0.99
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Trainer(keras.Model):
    """{"content", "style"} images [B, H, W, 3] to stylized images; what learns by
    them adds the loss. Each of its `terms` is a metric of its own. `replicas`: among
    how many devices a batch is split; their gradients are summed.
    """

    def __init__(self, model: StyleModel, terms: Iterable[str], replicas: int = 1):
        super().__init__(name="style_transfer")
        self.predictor = model.predictor
        self.transformer = model.transformer
        self.replicas = replicas
        # Whether batch normalisation goes by its running statistics, unchanged.
        self.frozen_statistics = False
        self.terms = {name: keras.metrics.Mean(name) for name in terms}
        # A moving sum of the embeddings and, last, of the ones that it is divided by.
        self.moving_sum = self.add_weight(
            shape=(model.manifest["embedding_size"] + 1,),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            name="moving_sum",
        )

    def call(self, inputs, training=False):
        training = training and not self.frozen_statistics
        embedding = self.embed(inputs, training)
        return self.transformer([inputs["content"], embedding], training=training)

    def embed(self, inputs, training):
        """The style embeddings [B, E] that a batch is painted under."""
        embedding = self.predictor(inputs["style"], training=training)
        embedding = jittered(self.truncated(embedding, inputs), inputs)
        return mixed(embedding, inputs)

    def truncated(self, embedding, inputs):
        """Embeddings [B, E] at the batch's "psi" of their distance from their mean, as
        train/truncate.py has it; the mean is a moving one."""
        if "psi" not in inputs:
            return embedding
        latest = ops.mean(ops.stop_gradient(ops.cast(embedding, "float32")), axis=0)
        latest = ops.concatenate([latest, ops.ones((1,))])
        self.moving_sum.assign(MOMENTUM * self.moving_sum + latest)
        mean = self.moving_sum[:-1] / self.moving_sum[-1]
        mean = ops.cast(mean, embedding.dtype)
        psi = ops.cast(inputs["psi"], embedding.dtype)[:, None]
        return mean + psi * (embedding - mean)


class StyleTransfer(Trainer):
    """A Trainer whose loss is a weighted sum of content_distance, of style_distance
    summed over the layers, of total_variation and of checkerboard, through a frozen
    VGG-16 that is not among the saved weights."""

    def __init__(self, model: StyleModel, loss: Loss, replicas: int = 1):
        plain = ("total_variation", "checkerboard")
        super().__init__(model, ["content", *loss.style_layers, *plain], replicas)
        self.weights_of = loss
        vgg = build_vgg16({*loss.style_layers, loss.content_layer})
        # A closure, because an attribute would become part of the saved weights.
        self.features = lambda image: vgg(image)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        values = self.values(x, y_pred)
        for name, value in values.items():
            self.terms[name].update_state(value)
        return weighted(self.weights_of, values) / self.replicas

    def values(self, x, y_pred):
        """The terms of the loss, not yet weighted, by name, [B] each."""
        x, y_pred = _windows(x, y_pred)
        content, grams = self.targets(x)
        stylized = self.features(y_pred)
        values = {
            "content": losses.content_distance(
                stylized[self.weights_of.content_layer], ops.stop_gradient(content)
            ),
            "total_variation": losses.total_variation(y_pred),
            "checkerboard": losses.checkerboard(y_pred),
        }
        for layer, target in grams.items():
            gram = losses.gram_matrix(stylized[layer])
            values[layer] = losses.style_distance(gram, ops.stop_gradient(target))
        return values

    def targets(self, x):
        """What a batch is to look like: content features [B, h, w, C], and the Gram
        matrix [B, C, C] of each style layer; of mixed styles, the mixed matrices."""
        content = self.features(x["content"])[self.weights_of.content_layer]
        style = self.features(x["style"])
        layers = self.weights_of.style_layers
        return content, {
            name: mixed(losses.gram_matrix(style[name]), x) for name in layers
        }


def weighted(weights: Loss, values: dict[str, Any]) -> Any:
    """The terms of the loss by name, [B] each, to their weighted sum."""
    means = {name: ops.mean(value) for name, value in values.items()}
    return (
        weights.content * means["content"]
        + weights.style * sum(means[layer] for layer in weights.style_layers)
        + weights.total_variation * means["total_variation"]
        + weights.checkerboard * means["checkerboard"]
    )


def _windows(batch: Any, stylized: Any) -> tuple[Any, Any]:
    """A batch and its stylized photos, cut to where it says that the loss looks."""
    if "window" not in batch:
        return batch, stylized
    size = batch["style"].shape[1]
    top, left = batch["window"][0, 0], batch["window"][0, 1]

    def cut(images):
        start, shape = (0, top, left, 0), (ops.shape(images)[0], size, size, 3)
        return ops.slice(images, start, shape)

    return batch | {"content": cut(batch["content"])}, cut(stylized)


def jittered(embedding: Any, batch: Any) -> Any:
    """Embeddings [B, E] moved along the way from the next style's but one to the
    next's, as far as the batch says."""
    if "jitter" not in batch:
        return embedding
    others = ops.roll(embedding, -1, axis=0) - ops.roll(embedding, -2, axis=0)
    share = ops.cast(batch["jitter"], embedding.dtype)[:, None]
    return embedding + share * ops.stop_gradient(others)


def mixed(values: Any, batch: Any) -> Any:
    """Embeddings or Gram matrices [B, ...] of a batch's styles, mixed with those of
    the next as far as the batch says."""
    if "mix" not in batch:
        return values
    share = ops.reshape(batch["mix"], (-1,) + (1,) * (len(values.shape) - 1))
    # Keras hands a model its inputs in the precision that it computes in.
    share = ops.cast(share, values.dtype)
    return values + share * (ops.roll(values, -1, axis=0) - values)


def fit(
    recipe: Recipe,
    content_folder: Path,
    style_folder: Path,
    out: Path,
    resume: bool = False,
    start: Path | None = None,
    log_every: int = 100,
    save_every: int = 500,
) -> bool:
    """Trains by the recipe; True when all its steps are done, False when stopped.

    See `train` for what OUT holds. `start`: the folder of a model of the recipe's
    architecture whose weights the run starts from, instead of random ones.
    """
    content, style = ImageFolder(content_folder), ImageFolder(style_folder)
    strategy = distribution()
    earlier = None if start is None or resume else _started_from(start, recipe)
    for folder in (content, style):
        folder.report_skipped()
    shown = samples(content, style, recipe)
    task = Task(
        recipe,
        trainer=lambda model, replicas: StyleTransfer(model, recipe.loss, replicas),
        dataset=lambda phase, first, steps: StyleTransferDataset(
            content,
            style,
            phase.size,
            phase.batch,
            first,
            steps,
            recipe.seed,
            phase.mixed,
            phase.drawn,
            phase.beyond,
            psi=phase.psi,
            jitter=phase.jitter,
        ),
        sheet=lambda model: sheet(model, *shown),
        card={"photos": len(content.paths), "paintings": len(style.paths)},
        start=earlier,
    )
    return train(task, out, resume, strategy, log_every, save_every)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run trains, and on what.

    trainer: of a fresh model and the number of devices that a batch is split among.
    dataset: of a phase, the first step and the number of steps. sheet: a picture
    uint8 [H, W, 3] of how far a model is. card: what the manifest says of the data.
    start: a model that the new one inherits weights from. source: the name of the
    model or teacher that the run learns from, which its resumption has to share.
    """

    recipe: Recipe
    trainer: Callable[[StyleModel, int], Trainer]
    dataset: Callable[[Any, int, int], StyleTransferDataset]
    sheet: Callable[[StyleModel], np.ndarray]
    card: dict[str, Any]
    start: StyleModel | None = None
    source: str | None = None


def train(
    task: Task,
    out: Path,
    resume: bool,
    strategy: Any,
    log_every: int,
    save_every: int,
) -> bool:
    """Does a task, by what `distribution` gave; True when all its steps are done,
    False when stopped.

    OUT holds the run's state, OUT/model the averaged networks (a folder for
    StyleModel.load, export/convert.py and `evaluate`), OUT/history the same at
    each checkpoint, log.csv, TensorBoard events and OUT/samples. With `resume` an
    interrupted run goes on just as it would have; without it, a folder that holds a
    run is refused. Of several workers (TF_CONFIG) the first one writes; all read OUT
    to resume.
    """
    with contextlib.ExitStack() as stack:
        writes = out
        if workers.among_workers():
            stack.enter_context(workers.worker_errors(out))
            writes = stack.enter_context(workers.writing_folder(strategy, out))
        run = _open_run(out if resume else writes, task.recipe, resume, task.source)
        if workers.among_workers():
            run["precision"] = workers.agreed(strategy, run["precision"], POLICIES)
        keras.utils.set_random_seed(task.recipe.seed)
        stack.enter_context(_dtype_policy(POLICIES[run["precision"]]))
        state = out / STATE if resume else None
        return _train(task, writes, run, state, strategy, log_every, save_every)


def _train(
    task: Task,
    out: Path,
    run: dict[str, Any],
    state: Path | None,
    strategy: Any,
    log_every: int,
    save_every: int,
) -> bool:
    recipe = task.recipe
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = StyleModel(recipe.predictor, recipe.transformer)
        trainer = task.trainer(
            model, 1 if strategy is None else strategy.num_replicas_in_sync
        )
        trainer.compile(
            _optimizer(recipe, split=strategy is not None),
            jit_compile=compiler(),
        )
        trainer.build(
            {"content": (None, None, None, 3), "style": (None, None, None, 3)}
        )
        if task.start is not None:
            inherit(model, task.start)
        trainer.optimizer.build(trainer.trainable_variables)
    if workers.among_workers():
        workers.adapt(trainer, strategy)
    if state is not None:
        try:
            trainer.load_weights(state)
        except ValueError as error:
            raise TrainingError(
                f"{state} was saved by another version of this code and does not fit "
                f"it; train on from {out / MODEL} with --start, into another folder."
            ) from error
    done = steps_done(trainer)
    started, seconds_before = time.monotonic(), run["seconds"]

    def publish() -> None:
        done = steps_done(trainer)
        run["seconds"] = seconds_before + time.monotonic() - started
        (out / RUN).write_text(json.dumps(run, indent=1) + "\n")
        model.manifest["training"] = {
            "recipe": recipe.name,
            "steps": done,
            "seconds": round(run["seconds"]),
            "precision": run["precision"],
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        } | task.card
        with averaged(trainer):
            model.save(out / HISTORY / f"{done:07d}")
            new = out / f"new-{MODEL}"
            model.save(new)
            shutil.rmtree(out / MODEL, ignore_errors=True)
            new.rename(out / MODEL)
            picture = encode(task.sheet(model))
        (out / "samples").mkdir(exist_ok=True)
        (out / "samples" / f"{done:07d}.png").write_bytes(picture)

    progress = Progress(out, recipe.steps, done, log_every)
    checkpoints = Checkpoints(out, save_every, publish)
    with progress.bar, stop_on_signal(trainer):
        first = 0
        for phase in recipe.phases:
            remaining = first + phase.steps - max(first, done)
            if remaining > 0:
                progress.dataset = task.dataset(phase, max(first, done), remaining)
                trainer.frozen_statistics = phase.frozen_statistics
                # Anew, so that the graph knows this phase.
                trainer.make_train_function(force=True)
                trainer.fit(
                    progress.dataset,
                    verbose=0,
                    shuffle=False,
                    callbacks=[progress, checkpoints],
                )
                if trainer.stop_training:
                    print(f"Stopped and saved; continue with --resume --out {out}")
                    return False
            first += phase.steps
    print(f"Done: {out / MODEL} is ready for export/convert.py")
    return True


def samples(
    content: ImageFolder, style: ImageFolder, recipe: Recipe
) -> list[list[np.ndarray]]:
    """Photos and styles for the sample sheets; they are not trained on."""
    random = np.random.default_rng(recipe.seed)
    size = max(phase.size for phase in recipe.phases)
    return [
        [crop(image, size, random) for image in folder.hold_out(SAMPLES, random)]
        for folder in (content, style)
    ]


def _started_from(folder: Path, recipe: Recipe) -> StyleModel:
    model = StyleModel.load(folder)
    for name in ("predictor", "transformer"):
        wanted = dataclasses.asdict(getattr(recipe, name))
        if model.manifest[name] != wanted:
            raise TrainingError(
                f"The {name} in {folder} is {model.manifest[name]}, the recipe "
                f"{recipe.name} wants {wanted}: weights of one do not fit the other."
            )
    return model


def _open_run(
    out: Path, recipe: Recipe, resume: bool, source: str | None = None
) -> dict[str, Any]:
    """What must not change between a run's start and its resumption."""
    path = out / RUN
    described = json.loads(json.dumps(dataclasses.asdict(recipe)))
    if resume:
        if not (out / STATE).is_file():
            raise TrainingError(f"{out} holds no checkpoint to resume from.")
        run = json.loads(path.read_text())
        if run["recipe"] != described:
            raise TrainingError(
                f"The recipe {recipe.name} is not the one that {out} was started "
                f"with (see {path}); restore it, or train into another folder."
            )
        if run.get("source") != source:
            raise TrainingError(
                f"{out} was started from {run.get('source')}, not from {source}; name "
                "the same, or train into another folder."
            )
        return run
    # A run that was stopped before its first checkpoint has nothing to lose.
    if (out / STATE).exists():
        raise TrainingError(
            f"{out} already holds a run; add --resume to continue it, or choose "
            "another --out."
        )
    run = {"precision": faster_precision(), "seconds": 0.0, "recipe": described}
    if source is not None:
        run["source"] = source
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1) + "\n")
    return run


@contextlib.contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    """Layers made within the block compute by this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@functools.cache
def faster_precision() -> str:
    """ "float32" or "bfloat16", whichever this machine runs VGG-16 faster in, there
    and back: some compute bfloat16 fast on the way there alone."""
    images = np.zeros((2, 64, 64, 3), np.float32)
    times = {}
    for precision, policy in POLICIES.items():
        with _dtype_policy(policy):
            image = keras.Input(images.shape[1:])
            painted = keras.layers.Conv2D(3, 1)(image)
            features = build_vgg16(["relu3_3"])(painted)["relu3_3"]
            network = keras.Model(image, features)
        network.compile("sgd", "mean_squared_error", jit_compile=compiler())
        target = np.zeros((len(images), *features.shape[1:]), np.float32)
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            network.train_on_batch(images, target)
            seconds.append(time.perf_counter() - start)
        times[precision] = min(seconds)
    return min(times, key=lambda precision: times[precision])


def compiler() -> Any:
    """Keras' jit_compile: XLA's convolutions are slower than TensorFlow's own on a
    CPU."""
    return False if keras.backend.backend() == "tensorflow" else "auto"


def _optimizer(recipe: Recipe, split: bool) -> keras.optimizers.Optimizer:
    """split: for batches that are split among devices."""
    settings = recipe.optimizer
    kind = Muon if settings.muon else keras.optimizers.Adam
    return (workers.jointly(kind) if split else kind)(
        learning_rate=keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            warmup_target=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_steps=recipe.steps - settings.warmup_steps,
        ),
        global_clipnorm=settings.clip_norm,
        use_ema=True,
        ema_momentum=settings.average,
    )


def distribution() -> Any:
    """What splits batches: among the workers of TF_CONFIG, where it is set; by a
    MirroredStrategy among this machine's devices of type DEVICE, where TensorFlow
    sees more than one; None elsewhere. To be asked before any network is made."""
    if keras.backend.backend() != "tensorflow":
        return None
    if workers.among_workers():
        return workers.multi_worker_strategy()
    import tensorflow as tf

    devices = [device.name for device in tf.config.list_logical_devices(DEVICE)]
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None
