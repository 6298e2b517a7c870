"""A recipe: everything that a training run depends on but the images."""

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.model import tuples
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """A recipe that is missing or has a wrong entry."""


@dataclass(frozen=True)
class Loss:
    """Weights of the loss terms, and the VGG-16 layers that they look at."""

    content: float
    style: float
    total_variation: float
    checkerboard: float
    content_layer: str
    style_layers: tuple[str, ...]


@dataclass(frozen=True)
class Optimizer:
    """Adam with warm-up, then a cosine to 0 over all phases together. muon:
    kernels by Muon instead, see train/muon.py."""

    learning_rate: float
    warmup_steps: int
    clip_norm: float
    average: float
    muon: bool = False


@dataclass(frozen=True)
class Phase:
    """`steps` batches of `batch` photos and paintings of size x size pixels.

    frozen_statistics: batch normalisation goes by its running statistics as they
    are, in training as in use. Early on it needs those of the batch; later their
    noise, of a few very different paintings, is what keeps the predictor from
    telling styles apart.
    """

    size: int
    batch: int
    steps: int
    frozen_statistics: bool = False


@dataclass(frozen=True)
class VariedPhase(Phase):
    """A Phase of `fit`, which varies what it learns from.

    mixed: in which share of the batches styles are mixed, see StyleTransferDataset;
    of several devices, each mixes those of its own part. drawn: which share of the
    styles is drawn, see train/drawings.py. beyond: so many pixels larger are the
    photos than the window, placed at random, that the loss looks at. What VGG-16 sees
    at its own border, of zeros, is otherwise lowered by a rim that is painted for it.
    """

    mixed: float = 0.0
    drawn: float = 0.0
    beyond: int = 0


@dataclass(frozen=True)
class FitPhase(VariedPhase):
    """A VariedPhase whose embeddings vary too.

    psi: between which two shares of its distance from the mean a style's embedding
    lies, drawn anew each time. Embeddings of paintings that it was not trained on
    overshoot; a transformer that has seen them nearer to the mean and further out
    changes little where a walk to another style draws them in. (1, 1): none varies.
    jitter: by up to which share of the way between two other styles an embedding is
    moved, forth or back, while the style to learn stays: so that it lies where a little
    of another style brings the picture no nearer to its own. It takes batches of three.
    """

    psi: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        two = isinstance(self.psi, tuple) and len(self.psi) == 2
        if not (two and 0.0 < self.psi[0] <= self.psi[1] < math.inf):
            raise RecipeError(
                f"psi is {self.psi}; it has to be two finite numbers above 0, the "
                "smaller one first."
            )
        if not 0.0 <= self.jitter < math.inf:
            raise RecipeError(f"jitter is {self.jitter}; it has to be 0 or above.")
        if self.jitter and self.batch < 3:
            raise RecipeError(
                f"jitter takes a batch of 3 styles or more, not of {self.batch}."
            )


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int
    predictor: PredictorConfig
    transformer: TransformerConfig
    # Loss, or what another kind of training has in its place.
    loss: Any
    optimizer: Optimizer
    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def lasting(self, steps: int | None) -> "Recipe":
        """The same in so many steps, each phase with its share but at least one."""
        if steps is None:
            return self
        share = steps / self.steps
        phases = tuple(
            dataclasses.replace(phase, steps=max(1, round(share * phase.steps)))
            for phase in self.phases
        )
        warmup = min(self.optimizer.warmup_steps, steps // 2)
        optimizer = dataclasses.replace(self.optimizer, warmup_steps=warmup)
        return dataclasses.replace(self, optimizer=optimizer, phases=phases)

    @classmethod
    def load(
        cls,
        name: str,
        loss: Callable[..., Any] = Loss,
        networks: Mapping[str, Any] | None = None,
        phase: type[Phase] = FitPhase,
    ) -> "Recipe":
        """A recipe of train/recipes by its name, or any TOML file by its path.

        loss: the class of its loss section. networks: a model's manifest, whose
        predictor and transformer stand in for the recipe's. phase: the class of its
        phases: what such a training would not heed is refused.
        """
        path = find(name, RECIPES)
        try:
            values = tomllib.loads(path.read_text())
            for network in ("predictor", "transformer"):
                if networks is not None:
                    values[network] = networks[network]
            return cls(
                name=path.stem,
                seed=values.pop("seed"),
                predictor=PredictorConfig(**tuples(values.pop("predictor"))),
                transformer=TransformerConfig(**tuples(values.pop("transformer"))),
                loss=loss(**tuples(values.pop("loss"))),
                optimizer=Optimizer(**values.pop("optimizer")),
                phases=tuple(phase(**tuples(entry)) for entry in values.pop("phases")),
                **values,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{path}: {error}") from error


def find(name: str, folder: Path) -> Path:
    """A recipe of `folder` by its name, or any TOML file by its path."""
    path = Path(name)
    if path.suffix != ".toml":
        path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.toml")))
        raise RecipeError(f"There is no recipe {name!r}; there are {known}.")
    return path
