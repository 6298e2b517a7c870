"""Training: resumption is exact, the end is clear, the average is what is kept."""

import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from sfumato.model import StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig
from train import losses
from train.__main__ import main
from train.fit import STATE, StyleTransfer, fit
from train.recipe import RECIPES, FitPhase, Loss, Optimizer, Recipe, RecipeError
from train.run import Progress, TrainingError

RECIPE = Recipe(
    name="tiny",
    seed=3,
    predictor=PredictorConfig(widths=(4, 8)),
    transformer=TransformerConfig(widths=(4, 8, 8), residual_blocks=1, separable=True),
    loss=Loss(3.0, 10.0, 1.0, 100.0, "relu2_2", ("relu1_2", "relu2_2")),
    optimizer=Optimizer(1e-3, 2, 5.0, 0.9, muon=True),
    phases=tuple(FitPhase(*numbers) for numbers in ((32, 2, 4), (48, 1, 4))),
)


def run(recipe: Recipe, folders: tuple[Path, Path], out: Path, **options: Any) -> bool:
    content, style = folders
    return fit(recipe, content, style, out, **options)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a weight file by its name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


@pytest.fixture(scope="module")
def whole_run(folders, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(RECIPE, folders, out, log_every=2, save_every=4)
    return out


@pytest.mark.parametrize("stop_at", [3, 6], ids=["first phase", "second phase"])
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    folders, whole_run, tmp_path, stop_at, monkeypatch
):
    original = Progress.on_train_batch_end

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        self.model.stop_training = self.step == stop_at

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", stop)
        assert not run(RECIPE, folders, out, log_every=2, save_every=4)
    # As if it had been killed later than its last checkpoint.
    with (out / "log.csv").open("a") as file:
        file.write("8,0,0,0,0,0,0\n")
    assert run(RECIPE, folders, out, resume=True, log_every=2, save_every=4)

    steps = [row.split(",")[0] for row in (out / "log.csv").read_text().splitlines()]
    assert steps == ["step", "2", "4", "6", "8"]
    whole, resumed = arrays(whole_run / STATE), arrays(out / STATE)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        if "terms" not in name and "loss_tracker" not in name:
            np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    for name in ("predictor", "transformer"):
        file = f"model/{name}.weights.h5"
        first, second = arrays(whole_run / file), arrays(out / file)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_run_writes_logs_samples_and_the_averaged_model(whole_run):
    with (whole_run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    for term in ("content", "relu1_2", "relu2_2", "total_variation", "loss"):
        assert all(float(row[term]) > 0 for row in rows)
    assert all(0 <= float(row["waiting"]) < 1 for row in rows)
    assert list((whole_run / "tensorboard").iterdir())
    assert [path.stem for path in sorted((whole_run / "samples").iterdir())] == [
        "0000004",
        "0000008",
    ]
    model = StyleModel.load(whole_run / "model")
    assert model.manifest["training"]["steps"] == 8
    state = arrays(whole_run / STATE)
    raw = next(value for name, value in state.items() if "layers/dense/vars/0" in name)
    average = model.predictor.get_layer("embedding").get_weights()[0]
    assert raw.shape == average.shape
    assert np.abs(raw - average).max() > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_statistics_stay_as_they_are(folders, tmp_path, frozen):
    phase = FitPhase(size=32, batch=2, steps=3, frozen_statistics=frozen)
    recipe = dataclasses.replace(RECIPE, phases=(phase,))
    assert run(recipe, folders, tmp_path / "run")
    model = StyleModel.load(tmp_path / "run" / "model")
    for network, norm in (
        (model.predictor, "conv0_norm"),
        (model.transformer.encoder, "contract0_norm"),
    ):
        layer = network.get_layer(norm)
        untouched = np.array_equal(layer.moving_mean, np.zeros_like(layer.moving_mean))
        assert untouched == frozen


def test_training_leaves_no_precision_behind(whole_run):
    assert keras.config.dtype_policy().name == "float32"


def test_training_lowers_the_loss(folders, tmp_path):
    recipe = dataclasses.replace(
        RECIPE,
        optimizer=dataclasses.replace(RECIPE.optimizer, learning_rate=5e-3),
        phases=(FitPhase(32, 2, 240),),
    )
    assert run(recipe, folders, tmp_path / "run", log_every=60, save_every=240)
    with (tmp_path / "run" / "log.csv").open() as file:
        loss = [float(row["loss"]) for row in csv.DictReader(file)]
    assert loss[-1] < 0.8 * loss[0]


def test_mixed_styles_have_mixed_embeddings_and_mixed_gram_matrices():
    model = StyleModel(RECIPE.predictor, RECIPE.transformer)
    trainer = StyleTransfer(model, RECIPE.loss)
    images = np.random.default_rng(0).random((2, 2, 32, 32, 3), np.float32)
    batch = {"content": images[0], "style": images[1]}
    mixed = batch | {"mix": np.array([0.25, 0.0], np.float32)}
    first, second = trainer.embed(batch, training=False)
    np.testing.assert_allclose(
        trainer.embed(mixed, training=False),
        [0.75 * first + 0.25 * second, second],
        rtol=1e-4,
        atol=1e-6,
    )
    (layer, *_) = RECIPE.loss.style_layers
    first, second = trainer.targets(batch)[1][layer]
    np.testing.assert_allclose(
        trainer.targets(mixed)[1][layer],
        [0.75 * first + 0.25 * second, second],
        rtol=1e-4,
        atol=1e-6,
    )


def test_embeddings_are_truncated_about_their_moving_mean():
    trainer = StyleTransfer(
        StyleModel(RECIPE.predictor, RECIPE.transformer), RECIPE.loss
    )
    images = np.random.default_rng(0).random((2, 2, 32, 32, 3), np.float32)
    batch = {"content": images[0], "style": images[1]}
    plain = np.asarray(trainer.embed(batch, training=False))
    shares = np.array([0.5, 1.1], np.float32)
    mean = plain.mean(0)
    first = trainer.embed(batch | {"psi": shares}, training=False)
    np.testing.assert_allclose(
        first, mean + shares[:, None] * (plain - mean), atol=1e-6
    )
    # Embeddings that lie elsewhere move the mean: half of the way by the second batch,
    # all of it in the end.
    second = trainer.truncated(plain + 1.0, {"psi": np.zeros(2, np.float32)})
    np.testing.assert_allclose(second, [mean + 1.0 / 1.99] * 2, atol=1e-5)
    for _ in range(600):
        last = trainer.truncated(plain + 1.0, {"psi": np.zeros(2, np.float32)})
    np.testing.assert_allclose(last, [mean + 1.0] * 2, atol=0.01)


def test_embeddings_are_moved_along_the_way_between_two_others():
    trainer = StyleTransfer(
        StyleModel(RECIPE.predictor, RECIPE.transformer), RECIPE.loss
    )
    images = np.random.default_rng(0).random((2, 3, 32, 32, 3), np.float32)
    batch = {"content": images[0], "style": images[1]}
    first, second, third = np.asarray(trainer.embed(batch, training=False))
    shares = np.array([0.25, 0.0, -0.5], np.float32)
    moved = trainer.embed(batch | {"jitter": shares}, training=False)
    expected = [
        first + 0.25 * (second - third),
        second,
        third - 0.5 * (first - second),
    ]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_a_jitter_that_cannot_be_is_refused(tmp_path):
    recipe = (RECIPES / "default.toml").read_text()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(recipe.replace("jitter = 0.25", "jitter = -0.25"))
    with pytest.raises(RecipeError, match=r"jitter is -0\.25; .* 0 or above"):
        Recipe.load(str(wrong))
    wrong.write_text(recipe.replace("batch = 3", "batch = 2"))
    with pytest.raises(RecipeError, match="3 styles or more, not of 2"):
        Recipe.load(str(wrong))


@pytest.mark.parametrize(
    "psi", ["[1.0, 0.5]", "[0.0, 1.0]", "[0.5, inf]", "[1.0]", "0.8"]
)
def test_a_psi_that_is_no_range_is_refused(tmp_path, psi):
    recipe = (RECIPES / "default.toml").read_text()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(recipe.replace("psi = [0.6, 1.05]", f"psi = {psi}"))
    with pytest.raises(RecipeError, match=r"wrong\.toml: psi is .*two finite numbers"):
        Recipe.load(str(wrong))


def test_content_is_measured_over_both_pictures_features():
    loss = RECIPE.loss
    trainer = StyleTransfer(StyleModel(RECIPE.predictor, RECIPE.transformer), loss)
    photo, style, painted = np.random.default_rng(0).random(
        (3, 2, 32, 32, 3), np.float32
    )
    seen, kept = (
        trainer.features(images)[loss.content_layer] for images in (painted, photo)
    )
    np.testing.assert_allclose(
        trainer.values({"content": photo, "style": style}, painted)["content"],
        losses.content_distance(seen, kept),
        rtol=1e-5,
    )


def test_the_loss_looks_at_the_window_alone():
    trainer = StyleTransfer(
        StyleModel(RECIPE.predictor, RECIPE.transformer), RECIPE.loss
    )
    random = np.random.default_rng(0)
    content, stylized = random.random((2, 2, 40, 40, 3), np.float32)
    style = random.random((2, 32, 32, 3), np.float32)
    place = np.full((2, 2), (3, 8), np.int32)
    rows, columns = slice(3, 35), slice(8, 40)
    batch = {"content": content, "style": style, "window": place}
    cut = {"content": content[:, rows, columns], "style": style}
    values = trainer.values(batch, stylized)
    expected = trainer.values(cut, stylized[:, rows, columns])
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_with_all_that_varies_in_each_precision(
    folders, tmp_path, monkeypatch, precision
):
    monkeypatch.setattr("train.fit.faster_precision", lambda: precision)
    phases = tuple(
        FitPhase(
            phase.size,
            3,
            phase.steps,
            mixed=1.0,
            beyond=4,
            psi=(0.7, 1.0),
            jitter=0.2,
        )
        for phase in RECIPE.phases
    )
    varied = dataclasses.replace(RECIPE, phases=phases)
    assert run(varied, folders, tmp_path / "run")
    assert (
        StyleModel.load(tmp_path / "run" / "model").manifest["training"]["steps"] == 8
    )


def test_a_batch_is_split_among_devices(folders, whole_run, tmp_path):
    """In a process of its own: devices are set up once in a process."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import tensorflow as tf
from pathlib import Path
from train import fit
from test_fit import RECIPE, run
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
fit.DEVICE = "CPU"
assert fit.distribution().num_replicas_in_sync == 2
recipe = fit.dataclasses.replace(RECIPE, phases=RECIPE.phases[:1])
folders = Path({str(folders[0])!r}), Path({str(folders[1])!r})
assert run(recipe, folders, Path({str(tmp_path / "run")!r}), log_every=2)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    losses = []
    for out in (whole_run, tmp_path / "run"):
        with (out / "log.csv").open() as file:
            losses.append(float(next(csv.DictReader(file))["loss"]))
    # Not equal: each device normalises by the statistics of its half of the batch.
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert (
        StyleModel.load(tmp_path / "run" / "model").manifest["training"]["steps"] == 4
    )


@pytest.mark.parametrize(
    ("save_every", "message"),
    [(1, "weights became nan at step 1"), (9, "loss became nan at step 2")],
)
def test_no_number_stops_with_a_clear_message_and_is_never_saved(
    folders, tmp_path, save_every, message
):
    recipe = dataclasses.replace(
        RECIPE,
        optimizer=Optimizer(float("inf"), 2, 5.0, 0.9),
        phases=(FitPhase(32, 2, 8),),
    )
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=message):
        run(recipe, folders, out, log_every=2, save_every=save_every)
    assert not (out / STATE).exists()
    assert not (out / "model").exists()


def test_a_run_is_never_overwritten_nor_resumed_by_another_recipe(folders, whole_run):
    with pytest.raises(TrainingError, match="already holds a run"):
        run(RECIPE, folders, whole_run)
    other = dataclasses.replace(RECIPE, seed=4)
    with pytest.raises(TrainingError, match="not the one"):
        run(other, folders, whole_run, resume=True)


def test_a_state_that_does_not_fit_the_code_is_refused_and_kept(
    folders, whole_run, tmp_path
):
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    with h5py.File(out / STATE, "r+") as file:
        moving_sum = file["vars/0"][:]
        del file["vars/0"]
        file["vars/0"] = moving_sum[:-1]
    before = (out / STATE).read_bytes()
    with pytest.raises(TrainingError, match="another version of this code"):
        run(RECIPE, folders, out, resume=True)
    assert (out / STATE).read_bytes() == before


def test_a_run_starts_from_a_models_weights(folders, whole_run, tmp_path):
    recipe = dataclasses.replace(
        RECIPE, optimizer=Optimizer(0.0, 1, 5.0, 0.9), phases=(FitPhase(32, 2, 2),)
    )
    out = tmp_path / "run"
    assert run(recipe, folders, out, start=whole_run / "model", log_every=2)
    for name in ("predictor", "transformer"):
        file = f"model/{name}.weights.h5"
        before, after = arrays(whole_run / file), arrays(out / file)
        for key, value in before.items():
            # Batch normalisation's statistics follow the data.
            if "batch_normalization" not in key:
                # The average of equal numbers, but for rounding.
                np.testing.assert_allclose(value, after[key], rtol=1e-6, err_msg=key)
    narrower = dataclasses.replace(RECIPE, predictor=PredictorConfig(widths=(4, 4)))
    with pytest.raises(TrainingError, match=r"predictor in .* wants .*\(4, 4\)"):
        run(narrower, folders, tmp_path / "other", start=whole_run / "model")
    assert not (tmp_path / "other").exists()


def test_curves_show_the_loss_and_the_scores_of_the_history(
    folders, whole_run, tmp_path, capsys
):
    assert [path.name for path in sorted((whole_run / "history").iterdir())] == [
        "0000004",
        "0000008",
    ]
    content, style = folders
    name = "deeper/0.png"
    (tmp_path / "pairs.csv").write_text(f"content,style\n{name},{name}\n")
    (tmp_path / "content").symlink_to(content)
    (tmp_path / "style").symlink_to(style)
    scores = tmp_path / "scores.csv"
    arguments = ["--pairs", str(tmp_path / "pairs.csv"), "--root", str(tmp_path)]
    for folder in (whole_run / "history" / "0000004", whole_run / "model"):
        arguments += ["--bundle", str(folder)]
    assert main(["evaluate", *arguments, "--csv", str(scores)]) == 0
    sizes = []
    for options in ([], ["--scores", str(scores)]):
        out = tmp_path / "curves.png"
        assert main(["curves", str(whole_run), *options, "-o", str(out)]) == 0
        with Image.open(out) as picture:
            sizes.append(np.asarray(picture.convert("L")).std())
    assert all(size > 10 for size in sizes)
    (whole_run / "log.csv").rename(tmp_path / "log.csv")
    assert main(["curves", str(whole_run), "-o", str(out)]) == 1
    (tmp_path / "log.csv").rename(whole_run / "log.csv")
    assert "log.csv" in capsys.readouterr().err


def test_resuming_needs_a_checkpoint(folders, tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint"):
        run(RECIPE, folders, tmp_path, resume=True)


def test_recipes_are_found_by_name_and_errors_say_what_there_is(tmp_path):
    default, further = Recipe.load("default"), Recipe.load("further")
    assert default.steps > 1000
    assert (further.predictor, further.transformer) == (
        default.predictor,
        default.transformer,
    )
    with pytest.raises(RecipeError, match=r"'nonsense'; there are .*default"):
        Recipe.load("nonsense")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = 1\nsped = 2\n")
    with pytest.raises(RecipeError, match="predictor"):
        Recipe.load(str(broken))


def test_command_line_reports_errors_in_words(tmp_path, capsys):
    arguments = ["fit", "--recipe", "default", "--out", str(tmp_path / "out")]
    arguments += ["--content", str(tmp_path / "none"), "--style", str(tmp_path)]
    assert main(arguments) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_trains_by_onednn_unless_told_otherwise(tmp_path):
    command = [sys.executable, "-m", "train", "fit", "--recipe", "default"]
    command += ["--out", str(tmp_path / "out")]
    command += ["--content", str(tmp_path / "none"), "--style", str(tmp_path)]
    for setting, expected in (({}, True), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, False)):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TF_")
        }
        done = subprocess.run(
            command, env=environment | setting, capture_output=True, text=True
        )
        assert "is not a folder" in done.stderr
        assert ("oneDNN custom operations are on" in done.stderr) == expected
