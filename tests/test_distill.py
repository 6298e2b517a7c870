"""Distilling: the student comes to paint what its teacher paints."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import MODELS
from conftest import picture
from test_hub import save

from sfumato.model import StyleModel
from train import losses
from train.__main__ import main
from train.distill import Imitation, distill
from train.recipe import Recipe, RecipeError
from train.vgg import WeightsError

RECIPE = """
seed = 3
[predictor]
widths = [8, 16]
[transformer]
widths = [4, 8, 8]
residual_blocks = 1
separable = true
[loss]
pixels = 1.0
details = 2.0
features = 1.0
[optimizer]
learning_rate = 1e-2
warmup_steps = 5
clip_norm = 1.0
average = 0.9
[[phases]]
size = 32
batch = 4
steps = 220
[[phases]]
size = 48
batch = 2
steps = 50
frozen_statistics = true
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def arguments(
    teacher: str | Path, recipe: Path, images: tuple[Path, Path], out: Path
) -> list[str]:
    options = {"teacher": teacher, "recipe": recipe, "out": out}
    options |= dict(zip(("content", "style"), images, strict=True))
    return ["distill"] + [
        part for name, value in options.items() for part in (f"--{name}", str(value))
    ]


def logged(
    teacher: Path, recipe: Path, folders: tuple[Path, Path], out: Path
) -> list[dict[str, str]]:
    """The log of a whole run."""
    content, style = folders
    assert distill(
        Recipe.load(str(recipe), Imitation),
        str(teacher),
        content,
        style,
        MODELS / "default",
        out,
        log_every=10,
        save_every=200,
    )
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["bundle", "hub"])
def test_the_student_learns_the_teachers_pictures(
    kind, recipe, folders, models_folder, tmp_path
):
    teacher = models_folder / "untrained"
    if kind == "hub":
        teacher = save(tmp_path / "network")
    out = tmp_path / "run"
    rows = logged(teacher, recipe, folders, out)
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    for term in ("pixels", "details", "features"):
        assert 0 < float(rows[-1][term]) < 1
    manifest = StyleModel.load(out / "model").manifest
    assert manifest["training"]["teacher"] == str(teacher)
    assert tuple(manifest["transformer"]["widths"]) == (4, 8, 8)


def test_the_photo_and_the_style_themselves_can_be_targets_too(
    recipe, folders, models_folder, tmp_path
):
    shorter = RECIPE.replace("= 220", "= 36").replace("= 50", "= 4")
    recipe.write_text(shorter.replace("[loss]", "[loss]\ncontent = 0.5\nstyle = 20.0"))
    rows = logged(models_folder / "untrained", recipe, folders, tmp_path / "run")
    assert float(rows[-1]["style"]) < 0.9 * float(rows[0]["style"])
    assert float(rows[-1]["content"]) > 0


def test_without_such_targets_vgg_is_not_needed(
    recipe, folders, models_folder, tmp_path, monkeypatch, capsys
):
    def missing(layers):
        raise WeightsError("VGG-16 is not here")

    monkeypatch.setattr("train.distill.build_vgg16", missing)
    run = [*arguments(models_folder / "untrained", recipe, folders, tmp_path / "run")]
    run += ["--steps", "2"]
    for term in ("content", "style"):
        recipe.write_text(RECIPE.replace("[loss]", f"[loss]\n{term} = 1.0"))
        assert main(run) == 1, term
        assert "VGG-16 is not here" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    recipe.write_text(RECIPE)
    assert main(run) == 0


def test_a_stopped_run_goes_on_with_the_same_teacher_only(
    recipe, folders, models_folder, tmp_path, capsys
):
    teacher, out = models_folder / "untrained", tmp_path / "run"
    short = [*arguments(teacher, recipe, folders, out), "--steps", "4"]
    assert main(short) == 0
    assert main(short) == 1
    assert "add --resume" in capsys.readouterr().err
    assert main([*short, "--resume"]) == 0
    other = shutil.copytree(teacher, tmp_path / "other")
    again = arguments(other, recipe, folders, out)
    assert main([*again, "--steps", "4", "--resume"]) == 1
    assert "was started from" in capsys.readouterr().err
    assert StyleModel.load(out / "model").manifest["training"]["steps"] == 4


def test_a_teacher_whose_pictures_have_another_size_is_refused(
    recipe, folders, tmp_path, capsys
):
    teacher = save(tmp_path / "network", halved=True)
    out = tmp_path / "run"
    assert main(arguments(teacher, recipe, folders, out)) == 1
    assert "[16, 16, 3] from a photo of [32, 32, 3]" in capsys.readouterr().err
    assert not out.exists()


def test_a_teacher_that_is_none_is_refused(recipe, folders, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(arguments("nonsense", recipe, folders, out)) == 1
    assert "nonsense is not a model" in capsys.readouterr().err
    assert not out.exists()


def test_what_distilling_would_not_heed_is_refused(recipe, tmp_path, capsys):
    recipe.write_text(recipe.read_text() + "drawn = 0.2\n")
    out = tmp_path / "out"
    assert main(arguments("default", recipe, (tmp_path, tmp_path), out)) == 1
    assert "unexpected keyword argument 'drawn'" in capsys.readouterr().err
    assert not out.exists()


def test_the_shipped_recipe_is_half_as_wide_as_default():
    student = Recipe.load("distill", Imitation)
    default = Recipe.load("default")
    full, half, quarter = default.transformer.widths
    assert student.transformer == dataclasses.replace(
        default.transformer, widths=(full // 2, half // 2, quarter // 2)
    )
    with pytest.raises(RecipeError, match="pixels"):
        Recipe.load("distill")


def test_distances_of_pictures():
    image = picture(64, 64, 1)[None] / np.float32(255)
    grain = np.random.default_rng(0).normal(0, 0.1, (2, 64, 64, 3)).astype(np.float32)
    for distance in (losses.pixel_distance, losses.detail_distance):
        assert float(distance(image, image)[0]) == 0
        assert float(distance(image + grain[:1], image)[0]) > 0
    # Grain that lies elsewhere is another detail.
    one, other, none = image + grain[:1], image + grain[1:], image
    moved, lost = (float(losses.detail_distance(one, x)[0]) for x in (other, none))
    assert moved > lost
    # One grey for another: no detail, but a distance of pixels as large as the step.
    grey, lighter = (np.full((1, 64, 64, 3), v, np.float32) for v in (0.4, 0.6))
    assert float(losses.pixel_distance(grey, lighter)[0]) == pytest.approx(0.2)
    assert float(losses.detail_distance(grey, lighter)[0]) == pytest.approx(0, abs=1e-6)
