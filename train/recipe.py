"""A recipe: everything that a training run depends on but the images."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

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
    """Adam with warm-up, then a cosine to 0 over all phases together."""

    learning_rate: float
    warmup_steps: int
    clip_norm: float
    average: float


@dataclass(frozen=True)
class Phase:
    """`steps` batches of `batch` photos and paintings of size x size pixels."""

    size: int
    batch: int
    steps: int


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int
    predictor: PredictorConfig
    transformer: TransformerConfig
    loss: Loss
    optimizer: Optimizer
    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @classmethod
    def load(cls, name: str) -> "Recipe":
        """A recipe of train/recipes by its name, or any TOML file by its path."""
        path = Path(name)
        if path.suffix != ".toml":
            path = RECIPES / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in RECIPES.glob("*.toml")))
            raise RecipeError(f"There is no recipe {name!r}; there are {known}.")
        try:
            values = tomllib.loads(path.read_text())
            return cls(
                name=path.stem,
                seed=values.pop("seed"),
                predictor=PredictorConfig(**tuples(values.pop("predictor"))),
                transformer=TransformerConfig(**tuples(values.pop("transformer"))),
                loss=Loss(**tuples(values.pop("loss"))),
                optimizer=Optimizer(**values.pop("optimizer")),
                phases=tuple(Phase(**phase) for phase in values.pop("phases")),
                **values,
            )
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise RecipeError(f"{path}: {error}") from error
