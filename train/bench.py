"""Times an iteration of optimisation beside its floor: one pass through the network
to the same layers, and back to the picture."""

import dataclasses
import multiprocessing
import resource
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from sfumato.images import to_uint8
from train.descent import minimise
from train.optimize import (
    POLICIES,
    Method,
    memory_needed,
    noise,
    transfer_terms,
)


@dataclass(frozen=True)
class Timing:
    """Seconds: `floor` of one pass and back, `iteration` of L-BFGS or Adam with all
    that belongs to it; how often an iteration evaluated the loss; peak and expected
    memory in bytes, beyond what the program and the network take; the loss reached."""

    floor: float
    iteration: float
    evaluations: float
    peak: int
    expected: int
    loss: float


def bench(method: Method, rounds: int) -> str:
    """The timings for each of the method's sizes in each precision, in Markdown. Each
    is taken in a process of its own, so that its peak memory is its own. (A spawned
    one would count the peak of this program as its own too, on Linux.)"""
    lines = [
        "| size | precision | floor, s | iteration, s | ratio | evaluations "
        "| peak memory, GB | expected, GB | loss |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    with multiprocessing.get_context("forkserver").Pool(1, maxtasksperchild=1) as pool:
        for size in method.sizes:
            for precision in POLICIES:
                tried = dataclasses.replace(
                    method, precision=precision, sizes=(size,), iterations=(rounds,)
                )
                timing = pool.apply(time_iteration, (tried,))
                lines.append(
                    f"| {size} | {precision} | {timing.floor:.3f} "
                    f"| {timing.iteration:.3f} | {timing.iteration / timing.floor:.2f} "
                    f"| {timing.evaluations:.2f} | {timing.peak / 1e9:.2f} "
                    f"| {timing.expected / 1e9:.2f} | {timing.loss:.4f} |"
                )
    return "\n".join(lines)


def time_iteration(method: Method) -> Timing:
    """On noise of the method's one size; floor and iterations take turns, so that
    other work on the machine slows both alike."""
    (size,), (rounds,) = method.sizes, method.iterations
    photo, style, start = (noise((size, size), seed) for seed in range(3))
    network = method.features({*method.content_layers, *method.style_layers})
    memory_before = peak_memory()

    @tf.function(input_signature=[tf.TensorSpec((1, size, size, 3))], autograph=False)
    def floor(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            seen = [tf.reduce_sum(value) for value in network(image).values()]
            total = tf.add_n(seen)
        return tape.gradient(total, image)

    floor(start[None])
    times: list[float] = []
    floors: list[float] = []
    before = time.perf_counter()

    def on_step(step) -> None:
        nonlocal before
        times.append(time.perf_counter() - before)
        started = time.perf_counter()
        floor(start[None]).numpy()
        before = time.perf_counter()
        floors.append(before - started)

    terms = transfer_terms(method, to_uint8(photo), [(to_uint8(style), 1.0)])
    outcome = minimise(
        terms, start, method.optimizer, rounds, method.learning_rate, on_step
    )
    return Timing(
        float(np.median(floors)),
        # The first holds the tracing of the graph.
        float(np.median(times[1:] or times)),
        outcome.evaluations / outcome.iterations,
        peak_memory() - memory_before,
        memory_needed(method, (size, size)),
        outcome.loss,
    )


def peak_memory() -> int:
    """The most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
