"""Refining: the surrogate is told the truth, and only the predictor learns by it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from sfumato.images import to_float
from sfumato.model import StyleModel
from train.__main__ import STOPPED, main
from train.collect import BATCH, CollectedPhase, Collection, window
from train.data import ImageFolder, StyleTransferDataset
from train.fit import STATE, StyleTransfer
from train.recipe import Recipe
from train.refine import CollectedDataset, HeldLoss, mixed_looks
from train.surrogate import styles_of, targets, terms

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
batch = 16
steps = 150
mixed = 0.5
drawn = 0.2
beyond = {BEYOND}
styles = 32
photos = 16
painted = 64
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
    painted = collection.unmoved()
    assert len(painted["photo"]) == 32
    assert painted["mix"].any()
    assert painted["own"].any()
    # Mixed styles lie next to one another in a batch.
    painted = {name: values[:BATCH] for name, values in painted.items()}
    dataset = CollectedDataset(collection, SIZE, BATCH, 0, 1, 5)
    kinds = ("images", "coordinates", "rest")
    style = styles_of(painted, dataset.looks, kinds) | {"mix": painted["mix"]}
    told = terms(targets(painted), mixed_looks(style), collection.loss)

    photos = to_float(collection.load("photos")["images"])[painted["photo"]]
    model = collection.model
    stylized = model.transformer([photos, painted["embedding"]], training=False)
    images = to_float(style["images"])
    batch = {"content": window(photos, BEYOND), "style": images, "mix": style["mix"]}
    trainer = StyleTransfer(model, collection.loss)
    truth = trainer.values(batch, window(stylized, BEYOND))
    assert told.keys() == truth.keys()
    # The basis is made of all styles, and leaves out a little of a photo's own.
    own = painted["own"]
    whole = ~own & ~(np.roll(own, -1) & (painted["mix"] > 0))
    assert 8 < whole.sum() < BATCH
    for name, value in truth.items():
        one, other = np.asarray(told[name]), np.asarray(value)
        np.testing.assert_allclose(
            one[whole], other[whole], rtol=2e-3, atol=1e-5, err_msg=name
        )
        np.testing.assert_allclose(one, other, rtol=5e-2, atol=1e-5, err_msg=name)
    embedding = trainer.embed(batch, False)
    np.testing.assert_allclose(embedding, painted["embedding"], atol=1e-4)


def test_half_of_the_photos_are_painted_again_under_moved_embeddings(collection):
    painted = collection.load("painted")
    moved = painted["moved"]
    assert moved.sum() == 32
    for name in ("photo", "style", "mix", "own"):
        np.testing.assert_array_equal(painted[name][moved], painted[name][~moved])
    distance = painted["embedding"][moved] - painted["embedding"][~moved]
    # Now and then both styles are the same one.
    assert (np.abs(distance).max(axis=1) > 1e-4).mean() > 0.8


def test_a_step_has_the_same_batch_whenever_it_is_made(collection):
    batches = [
        CollectedDataset(collection, SIZE, 2 * BATCH, 0, 1, 5).images(3)
        for _ in range(2)
    ]
    for name, value in batches[0].items():
        assert len(value) == 2 * BATCH
        np.testing.assert_array_equal(value, batches[1][name])
    # The photo's own style is mixed in for a picture of that photo.
    photo = batches[0]["photo"]
    np.testing.assert_array_equal(photo[0], photo[1])


def test_the_predictor_learns_and_the_transformer_stays(whole_run, untrained):
    with (whole_run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["50", "100", "150"]
    assert float(rows[-1]["loss"]) < 0.97 * float(rows[0]["loss"])
    assert 0 < float(rows[-1]["held"]) < 100
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
    assert training["steps"] == 150


def test_a_stopped_collection_goes_on(
    untrained, recipe, folders, whole_run, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    run = command(untrained, recipe, folders, out, "--steps", "1")
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


def test_a_recipe_that_does_not_say_how_much_to_collect_is_refused(
    untrained, folders, tmp_path, capsys
):
    short = tmp_path / "short.toml"
    short.write_text(RECIPE.replace("photos = 16\n", ""))
    assert main(command(untrained, short, folders, tmp_path / "run")) == 1
    assert "missing 1 required keyword-only argument: 'photos'" in (
        capsys.readouterr().err
    )


def test_batches_in_which_nothing_was_painted_are_refused(
    untrained, folders, tmp_path, capsys
):
    uneven = tmp_path / "uneven.toml"
    uneven.write_text(RECIPE.replace("batch = 16", "batch = 20"))
    assert main(command(untrained, uneven, folders, tmp_path / "run")) == 1
    assert "make it a multiple of 16" in capsys.readouterr().err


def test_the_shipped_recipe_looks_as_default_does():
    default = Recipe.load("default")
    networks = {"predictor": {"widths": [8]}, "transformer": {"widths": [8, 8, 8]}}
    refine = Recipe.load("refine", HeldLoss, networks, CollectedPhase)
    same = "content_layer", "style_layers", "style"
    for name in (*same, "total_variation"):
        assert getattr(refine.loss, name) == getattr(default.loss, name)
