"""What every training run needs, whatever it trains: progress, logs, atomic
checkpoints, a clear end on Ctrl-C or NaN."""

import contextlib
import csv
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

import keras
import numpy as np
from keras import ops
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

STATE = "state.weights.h5"
LOG = "log.csv"


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


def progress_bar() -> Bar:
    """A bar with the rate, a field of its tasks, and the time left."""
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )


class TimedDataset(Protocol):
    """ready_at: when each item was ready, by time.perf_counter()."""

    ready_at: dict[int, float]


class Progress(keras.callbacks.Callback):
    """Shows a bar with rate and time left; every `interval` steps writes the mean
    of each loss term since the last time to the terminal, OUT/log.csv and OUT's
    TensorBoard events; stops the run with TrainingError where the loss is no
    number.

    `waiting` is the share of time for which a step waited for its images.
    """

    def __init__(self, out: Path, steps: int, done: int, interval: int):
        super().__init__()
        self.out = out
        self.step = done
        self.interval = interval
        self.dataset: TimedDataset | None = None
        self.bar = progress_bar()
        self.task = self.bar.add_task("training", total=steps, completed=done, rate="")
        self.writer = _tensorboard(out)
        self._forget_after(done)
        self._start_interval()

    def _forget_after(self, step: int) -> None:
        """Drops what was logged after the checkpoint: it is done again."""
        path = self.out / LOG
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            kept = [row for row in lines[1:] if int(row.partition(",")[0]) <= step]
            path.write_text("".join(lines[:1] + kept))

    def _start_interval(self) -> None:
        self.since = time.perf_counter()
        self.steps_since = 0
        self.waited = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.model.reset_metrics()
        self._start_interval()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        assert logs is not None
        assert self.dataset is not None
        self.waited += max(0.0, self.dataset.ready_at.pop(batch) - self.begun)
        self.step += 1
        self.steps_since += 1
        if not math.isfinite(logs["loss"]):
            raise no_numbers(f"loss became {logs['loss']}", self.step, self.out)
        elapsed = time.perf_counter() - self.since
        rate = f"{self.steps_since / elapsed:.2f} steps/s"
        self.bar.update(self.task, completed=self.step, rate=rate)
        if self.step % self.interval == 0:
            self._log(logs | {"waiting": self.waited / elapsed}, rate)
            self.model.reset_metrics()
            self._start_interval()

    def _log(self, values: dict[str, float], rate: str) -> None:
        terms = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        line = f"step {self.step}  {terms}  {rate}"
        self.bar.console.print(line, highlight=False, soft_wrap=True)
        path = self.out / LOG
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["step", *values])
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({"step": self.step} | values)
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, self.step)


class Checkpoints(keras.callbacks.Callback):
    """Every `interval` steps, and when training stops, saves the whole state of
    the run (weights, optimiser with its step and averages, statistics) into one
    file that is replaced atomically, then calls `publish`."""

    def __init__(self, out: Path, interval: int, publish: Callable[[], None]):
        super().__init__()
        self.path = out / STATE
        self.interval = interval
        self.publish = publish

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.done % self.interval == 0 or self.model.stop_training:
            self.save()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.done % self.interval and not self.model.stop_training:
            self.save()

    @property
    def done(self) -> int:
        return steps_done(self.model)

    def save(self) -> None:
        weights = self.model.trainable_variables
        if not all(np.isfinite(ops.convert_to_numpy(w)).all() for w in weights):
            raise no_numbers("weights became nan", self.done, self.path.parent)
        new = self.path.with_name(f"new-{self.path.name}")
        self.model.save_weights(new)
        os.replace(new, self.path)
        self.publish()


def no_numbers(what: str, step: int, out: Path) -> TrainingError:
    return TrainingError(
        f"The {what} at step {step}. What {out} holds is from before; lower the "
        "recipe's learning rate or clip norm and train into another folder."
    )


def steps_done(model: keras.Model) -> int:
    """How many steps the optimiser of a compiled model has taken."""
    return int(ops.convert_to_numpy(model.optimizer.iterations))


class Stoppable(Protocol):
    stop_training: bool


@contextlib.contextmanager
def stop_on_signal(model: Stoppable) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the step in hand end, so that its state is saved."""

    def stop(number: int, frame: FrameType | None) -> None:
        model.stop_training = True

    before = {
        name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within the block, the trainable weights are their running averages."""
    weights = [ops.convert_to_numpy(w) for w in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)


def _tensorboard(out: Path):
    """A writer of TensorBoard events, or None where TensorFlow is not installed."""
    try:
        from tensorboard.summary import Writer
    except ImportError:
        return None
    return Writer(str(out / "tensorboard"))
