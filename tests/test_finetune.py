"""Fine-tuning: the user's pictures are learnt, the rest is held, nothing is lost."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from sfumato.images import to_float
from sfumato.model import StyleModel
from train.__main__ import main
from train.data import ImageFolder
from train.evaluate import grams, square, style_distances
from train.finetune import GALLERY, HELD, FineTuning, RehearsingDataset, finetune
from train.fit import StyleTransfer
from train.recipe import Recipe
from train.sheet import LABEL_HEIGHT
from train.vgg import build_vgg16

RECIPE = """
seed = 3
[loss]
content = 1.0
style = 10.0
total_variation = 0.0
checkerboard = 0.0
content_layer = "relu2_2"
style_layers = ["relu1_2", "relu2_2"]
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
clip_norm = 5.0
average = 0.8
[[phases]]
size = 32
batch = 4
steps = 240
frozen_statistics = true
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def paintings(tmp_path_factory) -> Path:
    """Three pictures of one kind: red and black stripes; and what is none."""
    folder = tmp_path_factory.mktemp("paintings")
    for index in range(3):
        stripes = np.zeros((300, 400, 3), np.uint8)
        stripes[:, :: 4 + index, 0] = stripes[:, 1 :: 4 + index, 0] = 255
        Image.fromarray(stripes).save(folder / f"stripes-{index}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def bundle(models_folder) -> Path:
    return models_folder / "untrained"


@pytest.fixture(scope="module")
def tuned(recipe, bundle, paintings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert finetune(
        str(recipe), bundle, paintings, None, out, log_every=80, save_every=240
    )
    return out


def arguments(recipe: Path, bundle: Path, style: Path, out: Path) -> list[str]:
    options = {"recipe": recipe, "bundle": bundle, "style": style, "out": out}
    return ["finetune"] + [
        part for name, value in options.items() for part in (f"--{name}", str(value))
    ]


def test_the_style_comes_closer_and_a_sheet_shows_before_and_after(
    tuned, bundle, paintings
):
    style = square(paintings / "stripes-0.png", 64)
    photo = square(GALLERY / "chelsea.jpg", 64)
    layers = ("relu1_2", "relu2_2")
    vgg = build_vgg16(layers)
    targets = grams(vgg, style, layers)

    def distance(model: StyleModel) -> float:
        painted = to_float(model.stylize(photo, model.embed(style)))
        return float(np.mean(style_distances(vgg(painted[None]), layers, targets)))

    before, after = StyleModel.load(bundle), StyleModel.load(tuned / "model")
    assert distance(after) < 0.8 * distance(before)
    manifest = json.loads((tuned / "model" / "manifest.json").read_text())
    assert manifest["training"]["start"] == "untrained"
    assert manifest["training"]["paintings"] == 3
    with Image.open(tuned / "samples" / "0000240.png") as sheet:
        # Photo, style, before and after; two photos in three styles.
        assert sheet.size == (4 * 256, LABEL_HEIGHT + 6 * 256)
    with (tuned / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["80", "160", "240"]


def test_what_is_rehearsed_costs_nothing_while_it_is_painted_as_before(recipe, bundle):
    before, model = StyleModel.load(bundle), StyleModel.load(bundle)
    loss = Recipe.load(str(recipe), networks=before.manifest).loss
    trainer = FineTuning(model, loss, before)
    batch = {
        "content": to_float(picture(32, 32, 1))[None],
        "style": to_float(picture(32, 32, 2))[None],
    }
    for rehearsed, least, most in ((1, 0, 1e-6), (0, 0.1, 100)):
        batch["rehearsed"] = np.array([rehearsed], np.float32)
        painted = trainer(batch)
        total = float(trainer.compute_loss(batch, y_pred=painted))
        assert least <= total <= most


def test_losing_more_of_the_photo_than_before_costs_more(recipe, bundle):
    before = StyleModel.load(bundle)
    loss = Recipe.load(str(recipe), networks=before.manifest).loss
    held = FineTuning(StyleModel.load(bundle), loss, before)
    plain = StyleTransfer(StyleModel.load(bundle), loss)
    photo = to_float(picture(32, 32, 1))[None]
    batch = {
        "content": photo,
        "style": to_float(picture(32, 32, 2))[None],
        "rehearsed": np.array([0], np.float32),
    }

    def content(trainer, painted) -> float:
        return float(trainer.values(batch, painted)["content"][0])

    as_before = held(batch)
    assert content(held, as_before) == pytest.approx(content(plain, as_before))
    assert content(held, photo) == pytest.approx(0, abs=1e-6)
    worse = 1.0 - photo
    lost = content(plain, worse) - content(plain, as_before)
    assert lost > 0.1
    expected = content(plain, worse) + HELD * lost
    assert content(held, worse) == pytest.approx(expected, rel=1e-4)
    batch["rehearsed"] = np.array([1], np.float32)
    assert content(held, held(batch)) == pytest.approx(0, abs=1e-6)


def test_half_of_a_batch_is_the_users_own(paintings):
    own, others = ImageFolder(paintings, 256), ImageFolder(GALLERY, 256)
    dataset = RehearsingDataset(others, others, own, 32, 3, 7, 2, 1)
    (batch,) = dataset[0]
    assert batch["rehearsed"].tolist() == [0, 0, 1]
    # The stripes have no green.
    assert (batch["style"][:2, ..., 1] < 0.05).all()
    assert batch["style"][2, ..., 1].max() > 0.05
    (again,) = dataset[0]
    np.testing.assert_array_equal(batch["style"], again["style"])
    assert min(own.draw(0, 0).shape[:2]) == 256


def test_it_is_stopped_and_resumed_from_the_command_line(
    recipe, bundle, paintings, tmp_path, capsys
):
    out = tmp_path / "run"
    start = [*arguments(recipe, bundle, paintings, out), "--steps", "3"]
    photos = ["--content", str(paintings)]
    assert main([*start, *photos]) == 0
    assert "notes.txt: not an image" in capsys.readouterr().out
    assert main([*start, *photos]) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main([*start, *photos, "--resume"]) == 0
    assert main([*start[:-1], "4", "--resume"]) == 1
    assert "is not the one" in capsys.readouterr().err
    assert StyleModel.load(out / "model").manifest["training"]["steps"] == 3


def test_bad_input_is_refused_in_words_and_leaves_nothing(
    recipe, bundle, paintings, tmp_path, capsys
):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("not a picture")
    newer = shutil.copytree(bundle, tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    file = tmp_path / "file"
    file.write_text("mine")
    out = tmp_path / "out"
    for style, model, folder, message in (
        (empty, bundle, out, f"{empty} holds no image"),
        (tmp_path / "none", bundle, out, "none is not a folder"),
        (paintings, newer, out, "bundle format 99"),
        (paintings, tmp_path / "none", out, "none is not a model"),
        (paintings, bundle, file / "out", "Not a directory"),
    ):
        assert main(arguments(recipe, model, style, folder)) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()
    assert file.read_text() == "mine"
    assert main([*arguments(recipe, bundle, paintings, out), "--content", str(empty)])
    assert f"{empty} holds no image" in capsys.readouterr().err
