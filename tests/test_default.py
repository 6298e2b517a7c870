"""The model that the page uses by default: what its card says holds."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from browser import GALLERY, MODELS

from export import published
from sfumato.model import StyleModel
from train import evaluate
from train.methods import by_model

MAX_DOWNLOAD = 3e6
PHOTOS = ("chelsea.jpg", "nagasaki-boats.jpg", "alpine-landscape.jpg")
STYLES = ("night-wind.jpg", "stained-glass.jpg", "crayon.jpg")


@pytest.fixture(scope="module")
def card(default_model: StyleModel) -> dict:
    return default_model.manifest


@pytest.fixture(scope="module")
def score(tmp_path_factory) -> Callable[[StyleModel], dict[str, float]]:
    """score(model): its mean distances on pictures of the gallery."""
    root = tmp_path_factory.mktemp("gallery")
    (root / "content").symlink_to(GALLERY)
    (root / "style").symlink_to(GALLERY)
    pairs = [(photo, style) for photo in PHOTOS for style in STYLES]
    return lambda model: evaluate.summarise(
        list(evaluate.evaluate(pairs, root, by_model(model)))
    )


def test_it_is_small(card):
    assert card["download_bytes"] <= MAX_DOWNLOAD


def test_its_card_is_complete(card):
    assert card["licence"]
    assert card["data"]
    for size in ("256", "512"):
        assert card["scores"][size]["pairs"] == 100
    for key in ("recipe", "steps", "hardware", "photos", "paintings"):
        assert card["training"][key]


def test_the_list_of_models_says_what_the_bundles_say():
    assert json.loads((MODELS / published.INDEX).read_text()) == published.read_index(
        MODELS
    )


def test_the_scores_on_its_card_are_its_own(shared, card, default_model):
    """Every tenth pair again; the mean of a tenth strays from that of all."""
    validation = shared / "data" / "validation"
    pairs = evaluate.read_pairs(validation / "pairs.csv")[::10]
    stylize = by_model(default_model)
    summary = evaluate.summarise(list(evaluate.evaluate(pairs, validation, stylize)))
    for name in ("content", "style", "alexnet_content", "alexnet_style"):
        assert summary[name] == pytest.approx(card["scores"]["256"][name], rel=0.15)


def test_the_precision_shipped_costs_no_quality(card, default_model, score):
    assert card["precision"] == "float16"
    rounded = StyleModel.load(MODELS / card["name"])
    for network in (rounded.predictor, rounded.transformer):
        network.set_weights(
            [
                weight.astype(np.float16).astype(np.float32)
                for weight in network.get_weights()
            ]
        )
    exact, shipped = score(default_model), score(rounded)
    assert exact != shipped
    for name in ("content", "style", "alexnet_content", "alexnet_style"):
        assert shipped[name] <= 1.02 * exact[name]
