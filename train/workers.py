"""Training on several machines or processes at once, as TF_CONFIG says."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from train.run import TrainingError


def among_workers() -> bool:
    """Whether TF_CONFIG makes this process one of several workers."""
    return bool(os.environ.get("TF_CONFIG"))


def multi_worker_strategy() -> Any:
    """TensorFlow's MultiWorkerMirroredStrategy: a batch is split among the workers
    and their devices, and gradients are summed. It has to be made before TensorFlow
    computes anything, and waits for all workers."""
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise TrainingError(
            f"The workers of TF_CONFIG did not come together: {error}. TF_CONFIG is "
            f"{os.environ['TF_CONFIG']}"
        ) from error


def jointly(kind: Any) -> Any:
    """The class of optimisers `kind` for a batch that is split: the global norm clips
    the gradient of the whole batch, as on one device. Keras (3.15) clips each share's
    and then sums them."""

    class Joint(kind):
        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
            import tensorflow as tf

            context = tf.distribute.get_replica_context()
            whole = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            clipped, _ = tf.clip_by_global_norm(whole, self.global_clipnorm)
            # What it is about to sum: as many equal shares, each below the norm.
            shares = [gradient / context.num_replicas_in_sync for gradient in clipped]
            super().apply(shares, trainable_variables)

    return Joint


def adapt(trainer: keras.Model, strategy: Any) -> None:
    """Lets Keras' fit train under MultiWorkerMirroredStrategy, which as it is (3.15)
    fails on the first batch: it can reduce neither inputs in a dict, for building what
    is built already, nor the scalars that a step returns. Here the workers average
    those themselves, so that all log the same and stop together."""
    import tensorflow as tf

    def averaging_step(data: Any) -> Any:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, trainer.train_step(data))

    def make_train_function(force: bool = False) -> None:
        if trainer.train_function is not None and not force:
            return
        step = tf.function(
            lambda iterator: strategy.run(averaging_step, args=(next(iterator),))
        )
        trainer.train_function = lambda iterator: {
            name: strategy.experimental_local_results(value)[0]
            for name, value in step(iterator).items()
        }

    trainer.make_train_function = make_train_function
    trainer._maybe_symbolic_build = lambda iterator=None, data_batch=None: None


def agreed(strategy: Any, choice: str, choices: Iterable[str]) -> str:
    """What the chief chose, in every worker."""
    import tensorflow as tf

    names = list(choices)
    own = tf.constant(names.index(choice) if is_chief(strategy) else 0)
    return names[int(strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None))]


def is_chief(strategy: Any) -> bool:
    """Whether this worker writes: the chief, where TF_CONFIG names one, or else the
    first."""
    resolver = strategy.cluster_resolver
    named = "chief" in resolver.cluster_spec().jobs
    return resolver.task_id == 0 and (not named or resolver.task_type == "chief")


@contextlib.contextmanager
def writing_folder(strategy: Any, out: Path) -> Iterator[Path]:
    """OUT for the chief; for the others a folder that nobody keeps, because saving
    takes all workers, who have to do the same."""
    if is_chief(strategy):
        yield out
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


@contextlib.contextmanager
def worker_errors(out: Path) -> Iterator[None]:
    """What TensorFlow reports when another worker is gone, in words."""
    from tensorflow import errors

    try:
        yield
    except (
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.UnavailableError,
    ) as error:
        raise TrainingError(
            "Another worker is gone, or cannot be reached. Start all workers again "
            f"with --resume: {out} holds the last checkpoint. "
            f"({error.message.splitlines()[0]})"
        ) from error
