"""Refining: the surrogate is told the truth, and only the predictor learns by it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from sfumato.images import to_float
from sfumato.model import StyleModel
from train import losses
from train.__main__ import STOPPED, main
from train.collect import BATCH, CollectedPhase, Collection, window
from train.data import ImageFolder, StyleTransferDataset
from train.fit import STATE, mixed
from train.recipe import Recipe
from train.refine import CollectedDataset, HeldLoss, mixed_looks
from train.surrogate import TERMS, targets, terms
from train.vgg import build_vgg16

SIZE, BEYOND = 48, 8
RECIPE = f"""
seed = 5
[loss]
content = 2.3
style = 10.0
total_variation = 1.0
checkerboard = 1000.0
content_layer = "relu2_2"
style_layers = ["relu1_2", "relu2_2"]
held = 0.1
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
clip_norm = 1.0
average = 0.5
[[phases]]
size = {SIZE}
batch = 12
steps = 20
mixed = 0.5
drawn = 0.2
beyond = {BEYOND}
styles = 32
photos = 16
painted = 48
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def untrained(models_folder) -> Path:
    return models_folder / "untrained"


def command(
    model: Path, recipe: Path, folders: tuple[Path, Path], out: Path, *more: str
) -> list[str]:
    content, style = folders
    named = {"bundle": model, "recipe": recipe, "out": out}
    named |= {"content": content, "style": style}
    parts = [part for name, value in named.items() for part in (f"--{name}", value)]
    return ["refine", *map(str, parts), *more]


@pytest.fixture(scope="module")
def whole_run(untrained, recipe, folders, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(command(untrained, recipe, folders, out)) == 0
    return out


@pytest.fixture(scope="module")
def collection(whole_run, untrained, recipe, folders) -> Collection:
    model = StyleModel.load(untrained)
    loaded = Recipe.load(str(recipe), HeldLoss, model.manifest, CollectedPhase)
    (phase,) = loaded.phases
    assert isinstance(phase, CollectedPhase)
    content, style = map(ImageFolder, folders)
    crops = StyleTransferDataset(content, style, SIZE, BATCH, 0, 0, 5, 0.0, 0.2, BEYOND)
    found = Collection(whole_run / "collected", model, loaded.loss, phase, crops)
    found.collect()
    return found


def test_what_is_collected_gives_the_losses_of_the_painted_photos(collection):
    painted, styles, photos = map(collection.load, ("painted", "styles", "photos"))
    assert len(painted["embedding"]) == 48
    assert len(styles["images"]) == 32
    loss = collection.loss
    told = terms(
        targets(painted),
        {name: styles[name][painted["style"]] for name in ("coordinates", "squares")},
        loss,
    )
    assert told.keys() == {*TERMS, *loss.style_layers}

    inner = to_float(window(photos["images"], BEYOND))[painted["photo"]]
    stylized = collection.model.transformer(
        [to_float(photos["images"])[painted["photo"]], painted["embedding"]]
    )
    stylized = window(stylized, BEYOND)
    vgg = build_vgg16(loss.style_layers)
    seen, wanted, photo = map(
        vgg, (stylized, to_float(styles["images"])[painted["style"]], inner)
    )
    truth = {
        "content": losses.content_loss(seen["relu2_2"], photo["relu2_2"]),
        "total_variation": losses.total_variation(stylized),
        "checkerboard": losses.checkerboard(stylized),
    } | {
        # Every style is among those that the basis is made of: nothing is left out.
        layer: losses.style_distance(
            losses.gram_matrix(seen[layer]), losses.gram_matrix(wanted[layer])
        )
        for layer in loss.style_layers
    }
    for name, value in truth.items():
        np.testing.assert_allclose(
            told[name], value, rtol=2e-3, atol=1e-5, err_msg=name
        )


def test_mixed_looks_are_those_of_mixed_gram_matrices(collection):
    dataset = CollectedDataset(collection, SIZE, 12, 0, 1, 5, 1.0)
    batch = dataset.images(0)
    assert (batch["mix"] > 0).all()
    # The photo's own style is mixed in for a picture of that photo.
    np.testing.assert_array_equal(batch["photo"][0], batch["photo"][1])
    looks = mixed_looks(batch)
    grams = losses.gram_matrix(build_vgg16(["relu1_2"])(batch["style"])["relu1_2"])
    truth = np.square(mixed(grams, batch)).sum((1, 2))
    np.testing.assert_allclose(looks["squares"][:, 0], truth, rtol=2e-3)
    again = dataset.images(0)
    for name, value in batch.items():
        np.testing.assert_array_equal(value, again[name])


def test_the_predictor_learns_and_the_transformer_stays(whole_run, untrained):
    before, after = map(StyleModel.load, (untrained, whole_run / "model"))
    networks = before.transformer, after.transformer
    for one, other in zip(*(n.get_weights() for n in networks), strict=True):
        np.testing.assert_array_equal(one, other)
    kernels = [
        m.predictor.get_layer("embedding").get_weights()[0] for m in (before, after)
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    training = after.manifest["training"]
    assert training["start"] == "untrained"
    assert training["steps"] == 20


def test_the_loss_falls(untrained, recipe, folders, whole_run, tmp_path):
    longer = tmp_path / "longer.toml"
    longer.write_text(RECIPE.replace("steps = 20", "steps = 150"))
    run = command(untrained, longer, folders, tmp_path / "run")
    assert main([*run, "--collected", str(whole_run / "collected")]) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < 0.97 * float(rows[0]["loss"])
    assert 0 < float(rows[-1]["held"]) < 100


def test_a_stopped_collection_goes_on(
    untrained, recipe, folders, whole_run, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    run = command(untrained, recipe, folders, out)
    found: list[Collection] = []
    opened, photos = Collection.__init__, StyleTransferDataset.photos

    def remember(self, *arguments):
        opened(self, *arguments)
        found.append(self)

    def stop(self, step, random):
        found[0].stop_training = True
        return photos(self, step, random)

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "__init__", remember)
        patch.setattr(StyleTransferDataset, "photos", stop)
        assert main(run) == STOPPED
    assert "the same command goes on" in capsys.readouterr().out
    (styles,) = (out / "collected" / "styles").iterdir()
    made = styles.stat().st_mtime_ns
    assert not (out / STATE).exists()
    assert main(run) == 0
    assert styles.stat().st_mtime_ns == made
    for name in ("styles", "painted"):
        paths = [
            next((folder / "collected" / name).rglob("*.npz"))
            for folder in (whole_run, out)
        ]
        with np.load(paths[0]) as one, np.load(paths[1]) as other:
            for key in one:
                np.testing.assert_allclose(
                    one[key], other[key], rtol=1e-3, atol=1e-6, err_msg=key
                )


def test_another_round_adds_its_own_painted_photos(
    recipe, folders, whole_run, tmp_path
):
    folder = whole_run / "collected"
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}
    run = command(whole_run / "model", recipe, folders, tmp_path / "run")
    assert main([*run, "--collected", str(folder), "--steps", "1"]) == 0
    new = set(folder.rglob("*.npz")) - kept.keys()
    assert [path.parent.parent.name for path in new] == ["painted"]
    for path, made in kept.items():
        assert path.stat().st_mtime_ns == made


def test_a_collection_by_another_transformer_is_refused(
    recipe, folders, whole_run, tmp_path, capsys
):
    out, folder = tmp_path / "run", whole_run / "collected"
    run = command(Path("default"), recipe, folders, out)
    assert main([*run, "--collected", str(folder)]) == 1
    assert "was collected with transformer" in capsys.readouterr().err
    assert not out.exists()


def test_a_recipe_of_two_phases_is_refused(untrained, folders, tmp_path, capsys):
    twice = tmp_path / "twice.toml"
    twice.write_text(RECIPE + RECIPE[RECIPE.index("[[phases]]") :])
    assert main(command(untrained, twice, folders, tmp_path / "run")) == 1
    assert "has 2 phases, not one" in capsys.readouterr().err


def test_the_shipped_recipe_looks_as_default_does():
    default = Recipe.load("default")
    networks = {"predictor": {"widths": [8]}, "transformer": {"widths": [8, 8, 8]}}
    refine = Recipe.load("refine", HeldLoss, networks, CollectedPhase)
    for name in ("content_layer", "style_layers", "style", "total_variation"):
        assert getattr(refine.loss, name) == getattr(default.loss, name)
