"""One network for one style: what it learns, how it starts, that it plays anywhere."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, untrained_model
from PIL import Image

from export import convert, parity
from sfumato.model import StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig
from train.methods import by_model
from train.recipe import Loss, Optimizer, Phase, Recipe
from train.run import TrainingError
from train.single import single

RECIPE = Recipe(
    name="tiny",
    seed=3,
    predictor=PredictorConfig(widths=(4,)),
    transformer=TransformerConfig(widths=(8, 16, 16), residual_blocks=2),
    loss=Loss(1.0, 10.0, 1.0, 0.0, "relu2_1", ("relu1_2", "relu2_1")),
    optimizer=Optimizer(5e-3, 2, 5.0, 0.5),
    phases=(Phase(size=32, batch=2, steps=24),),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of photos, and a style beside it."""
    root = tmp_path_factory.mktemp("images")
    (root / "photos").mkdir()
    for seed in range(4):
        path = root / "photos" / f"{seed}.png"
        Image.fromarray(picture(72, 80, seed)).save(path)
    field = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(field).resize((320, 256)).save(root / "speckles.png")
    return root / "photos", root / "speckles.png"


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    photos, style = images
    out = tmp_path_factory.mktemp("single") / "run"
    assert single(RECIPE, photos, style, out, log_every=6, save_every=12)
    return out


def test_training_lowers_the_loss(run):
    rows = (run / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    loss = [float(row.split(",")[column]) for row in rows[1:]]
    assert len(loss) == 4
    assert loss[-1] < 0.9 * loss[0]


def test_every_style_gives_the_one_style(run, images):
    model = StyleModel.load(run / "model")
    assert model.manifest["one_style"] == "speckles"
    assert model.manifest["training"]["steps"] == 24
    photo = picture(48, 64, 7)
    embeddings = [model.embed(picture(64, 64, seed)) for seed in range(2)]
    assert not np.any(embeddings)
    painted = model.stylize(photo, embeddings[0])
    np.testing.assert_array_equal(painted, model.stylize(photo, embeddings[1], 0.3))
    assert (painted != photo).any()
    stylize = by_model(model)
    np.testing.assert_array_equal(stylize(("a", "speckles.jpg"), photo, photo), painted)
    assert (stylize(("a", "other.jpg"), photo, photo) == 255).all()


def test_a_start_paints_as_the_model_did(images, tmp_path):
    photos, style = images
    untrained_model(seed=1, version="1").save(tmp_path / "start")
    start = StyleModel.load(tmp_path / "start")
    still = dataclasses.replace(
        RECIPE,
        optimizer=Optimizer(0.0, 1, 5.0, 0.5),
        phases=(Phase(32, 1, 2, frozen_statistics=True),),
    )
    out = tmp_path / "run"
    assert single(still, photos, style, out, start=tmp_path / "start")
    photo = picture(48, 64, 7)
    expected = start.stylize(photo, start.embed(style))
    own = StyleModel.load(out / "model").stylize(photo, np.zeros(100))
    assert np.abs(own.astype(int) - expected).max() <= 1
    wider = dataclasses.replace(
        RECIPE, transformer=TransformerConfig(widths=(8, 16, 24))
    )
    with pytest.raises(TrainingError, match="weights of one do not fit"):
        single(wider, photos, style, tmp_path / "other", start=tmp_path / "start")


def test_it_resumes_only_for_its_own_style(run, images, tmp_path):
    photos, style = images
    other = tmp_path / "other.png"
    other.write_bytes(style.read_bytes())
    with pytest.raises(TrainingError, match="speckles"):
        single(RECIPE, photos, other, run, resume=True)
    assert single(RECIPE, photos, style, run, resume=True)


def test_it_is_published_and_plays_in_the_browsers_engine(run, tmp_path):
    manifest = convert.publish(
        StyleModel.load(run / "model"), "speckles", "float16", tmp_path
    )
    assert manifest["one_style"] == "speckles"
    assert parity.misses(manifest["parity"]["float16"], "float16") == []
    published = json.loads((tmp_path / "speckles" / "manifest.json").read_text())
    assert published["one_style"] == "speckles"
