"""Optimising a picture: the losses by hand, the descents on problems whose answer is
known, the command line as it is used."""

import dataclasses
import math
import multiprocessing
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import picture
from PIL import Image

from sfumato.images import decode, resize, to_float
from train import atelier, losses
from train.__main__ import main
from train.bench import time_iteration
from train.descent import EvenedImage, Step, minimise
from train.limit import limit
from train.optimize import (
    METHODS,
    MemoryNeededError,
    Method,
    State,
    check_memory,
    keep_colours,
    memory_needed,
    noise,
    optimize,
    transfer_terms,
)
from train.recipe import RecipeError
from train.run import TrainingError
from train.vgg import VGG16_LAYERS, WeightsError, build_vgg16, build_vgg19

SHALLOW = dataclasses.replace(
    Method.load("balanced"),
    content_layers={"relu2_1": 1.0},
    style_layers={"relu1_1": 1.0, "relu2_1": 0.5},
    sizes=(32,),
    iterations=(6,),
)


def test_squared_content_loss_by_hand():
    features = np.array([[[[1.0], [3.0]]]], np.float32)
    target = np.array([[[[2.0], [0.0]]]], np.float32)
    np.testing.assert_allclose(
        losses.squared_content_loss(features, target), [(1 + 9) / 2]
    )


def test_squared_style_loss_by_hand():
    features = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
    gram = np.array([[[1.0, 0.0], [0.0, 2.0]]], np.float32)
    target = losses.gram_matrix(features)  # [[5, 7], [7, 10]]
    mean = (4**2 + 7**2 + 7**2 + 8**2) / 4
    np.testing.assert_allclose(losses.squared_style_loss(gram, target), [mean / 2**2])


@pytest.mark.parametrize("loss", ["balanced", "squared"])
def test_the_gradient_agrees_with_finite_differences(loss):
    method = dataclasses.replace(SHALLOW, loss=loss, pooling="average")
    terms = transfer_terms(method, picture(16, 16), [(picture(16, 16, 1), 1.0)])
    image = tf.constant(noise((16, 16), 0)[None])
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.add_n(list(terms(image).values()))
    gradient = tape.gradient(total, image).numpy()
    # Along the gradient, where the slope is its length.
    step = 2e-2 * gradient / np.linalg.norm(gradient)
    ahead, behind = (sum(terms(image + s).values()) for s in (step, -step))
    slope = float(ahead - behind) / (2 * 2e-2)
    assert slope == pytest.approx(np.linalg.norm(gradient), rel=0.02)


def test_terms_are_the_weighted_losses():
    photo, style, image = (picture(32, 32, seed) for seed in range(3))
    terms = transfer_terms(SHALLOW, photo, [(style, 1.0)])(to_float(image)[None])
    network = build_vgg16(["relu1_1", "relu2_1"])
    seen, kept, taken = (network(to_float(i)[None]) for i in (image, photo, style))
    content = losses.content_distance(seen["relu2_1"], kept["relu2_1"])[0]
    style_distance = losses.style_distance(
        *(losses.gram_matrix(found["relu2_1"]) for found in (seen, taken))
    )[0]
    assert float(terms["content relu2_1"]) == pytest.approx(3.5 * float(content), 1e-4)
    assert float(terms["style relu2_1"]) == pytest.approx(
        10 * 0.5 * float(style_distance), 1e-4
    )
    assert set(terms) == {
        "content relu2_1", "style relu1_1", "style relu2_1", "total variation"
    }  # fmt: skip


def test_styles_are_mixed_by_weight():
    image = to_float(picture(32, 32))[None]
    first, second = picture(32, 32, 1), picture(32, 32, 2)

    def style_terms(*styles):
        terms = transfer_terms(SHALLOW, None, styles)(image)
        return {name: float(value) for name, value in terms.items()}

    alone = style_terms((first, 3.0))
    assert style_terms((first, 2.0), (second, 0.0)) == pytest.approx(alone, rel=1e-4)
    assert style_terms((first, 1.0), (second, 1.0)) != pytest.approx(alone, rel=0.01)
    with pytest.raises(ValueError, match=r"not all 0; received \[0.0\]"):
        style_terms((first, 0.0))


@pytest.mark.parametrize("shape", [(8, 9), (7, 12)])
def test_an_evened_image_is_the_image_and_its_gradient_is_by_finite_differences(shape):
    random = np.random.default_rng(0)
    image = random.uniform(0.02, 0.98, (*shape, 3)).astype(np.float32)
    evened = EvenedImage(*shape)
    values = evened.values(image)
    seen, slope = evened.image(values)
    np.testing.assert_allclose(seen, image, atol=1e-6)
    darkest, _ = evened.image(evened.values(np.zeros_like(image)))
    assert darkest == pytest.approx(0.5 / 255, rel=1e-2)

    weights = random.normal(size=image.shape)
    gradient = evened.gradient(weights, slope)
    for index in (0, 5, 100, values.size - 1):
        step = np.zeros_like(values)
        step[index] = 0.05
        (ahead, _), (behind, _) = (
            evened.image(values + step),
            evened.image(values - step),
        )
        slope = ((ahead.astype(np.float64) - behind) * weights).sum() / 0.1
        assert gradient[index] == pytest.approx(slope, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_descent_finds_a_known_minimum_within_bounds_and_is_traced_once(optimizer):
    wanted = np.random.default_rng(0).uniform(-0.5, 1.5, (8, 9, 3)).astype(np.float32)
    traced = []

    def terms(image):
        traced.append(image)
        return {"distance": tf.reduce_mean(tf.square(image - wanted))}

    steps: list[Step] = []
    outcome = minimise(terms, noise((8, 9), 0), optimizer, 200, 0.05, steps.append)
    np.testing.assert_allclose(outcome.image, np.clip(wanted, 0, 1), atol=2e-3)
    assert len(traced) == 1
    assert outcome.ended == "done"
    assert [step.iteration for step in steps] == list(range(1, outcome.iterations + 1))
    assert outcome.evaluations >= outcome.iterations
    assert outcome.terms == {"distance": pytest.approx(outcome.loss)}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_descent_ends_when_told_and_keeps_its_best(optimizer):
    terms = transfer_terms(SHALLOW, picture(32, 32), [(picture(32, 32, 1), 1.0)])
    steps = []

    def on_step(step):
        steps.append(step)
        return step.iteration == 3

    outcome = minimise(terms, noise((32, 32), 0), optimizer, 9, 0.05, on_step)
    assert outcome.ended == "stopped"
    assert outcome.iterations == 3
    again = sum(map(float, terms(outcome.image[None]).values()))
    assert outcome.loss == pytest.approx(again, rel=1e-4)
    assert outcome.loss <= min(step.loss for step in steps)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_nan_ends_a_descent_at_the_last_good_image(optimizer):
    def terms(image):
        return {"root": tf.reduce_mean(tf.sqrt(image - 0.3))}

    outcome = minimise(terms, np.full((4, 4, 3), 0.8), optimizer, 100, 0.05)
    assert outcome.ended == "not finite"
    assert math.isfinite(outcome.loss)
    assert outcome.loss < math.sqrt(0.5)
    assert (outcome.image >= 0.3).all()


def test_coarse_to_fine_counts_on_and_ends_at_the_last_size():
    method = dataclasses.replace(SHALLOW, sizes=(16, 32), iterations=(3, 2))
    seen = []
    outcome = optimize(
        method,
        picture(40, 60),
        [(picture(30, 30, 1), 1.0)],
        on_step=lambda step: seen.append((step.iteration, step.of, step.best.shape)),
    )
    assert outcome.image.shape == (32, 48, 3)
    assert [step[:2] for step in seen] == [(n, 5) for n in range(1, 6)]
    assert seen[2][2] == (16, 24, 3)
    assert outcome.iterations == 5


def test_noise_is_seeded():
    np.testing.assert_array_equal(noise((4, 5), 3), noise((4, 5), 3))
    assert (noise((4, 5), 3) != noise((4, 5), 4)).any()


def test_colours_are_kept():
    photo, painted = picture(24, 32), picture(24, 32, 5)
    kept = keep_colours(painted, photo)
    lightness, *colours = Image.fromarray(kept).convert("YCbCr").split()
    before, *theirs = Image.fromarray(photo).convert("YCbCr").split()
    grey = photo[..., :1].repeat(3, axis=2)
    flat = keep_colours(painted, grey)
    assert np.ptp(flat.astype(int), axis=2).max() <= 2
    grey_painted = np.asarray(Image.fromarray(painted).convert("L"))
    np.testing.assert_allclose(flat[..., 0], grey_painted, atol=2)
    # Where the lightness leaves room for them.
    room = (np.abs(np.asarray(lightness, int) - before) < 8) & (kept.min(axis=2) > 8)
    room &= kept.max(axis=2) < 247
    assert room.any()
    for own, other in zip(colours, theirs, strict=True):
        difference = np.asarray(own, int)[room] - np.asarray(other, int)[room]
        assert np.abs(difference).max() <= 4


def test_memory_grows_with_the_picture_and_too_large_a_one_is_refused():
    small, large = (memory_needed(SHALLOW, (size, size)) for size in (256, 512))
    assert large == pytest.approx(4 * small, rel=0.01)
    # The features alone, once: two layers of 64 at full, pool and 128 at half size.
    assert small > 4 * 256**2 * (64 + 64 + (64 + 128) / 4)
    check_memory(SHALLOW, (64, 64))
    with pytest.raises(
        MemoryNeededError,
        match=r"90000 x 60000 .* needs about \d+.* GB .* a size of \d+ fits",
    ):
        check_memory(SHALLOW, (60_000, 90_000))


@pytest.mark.parametrize("path", sorted(METHODS.glob("*.toml")), ids=lambda p: p.stem)
def test_recipes_name_layers_that_there_are(path):
    method = Method.load(path.stem)
    assert {*method.content_layers, *method.style_layers} <= set(VGG16_LAYERS)
    assert f"--recipe {path.stem} " in path.read_text() or path.stem == "balanced"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of lbfgs, adam, not 'sgd'"),
        ({"iterations": (3, 3)}, "each of the sizes"),
        ({"style_weight": math.nan}, "numbers from 0"),
        ({"content_layers": {"relu1_1": -1.0}}, "numbers from 0"),
    ],
)
def test_a_wrong_method_is_refused(change, message):
    with pytest.raises(RecipeError, match=message):
        dataclasses.replace(SHALLOW, **change)


def test_average_pooling_by_hand():
    image = noise((8, 8), 0)[None]
    network = build_vgg16(["relu1_2", "relu2_1"], pooling="average")
    found = network(image)
    pooled = tf.nn.avg_pool2d(found["relu1_2"], 2, 2, "VALID")
    expected = network.get_layer("relu2_1")(pooled)
    np.testing.assert_allclose(found["relu2_1"], expected, rtol=1e-5, atol=1e-5)


def test_vgg19_is_read_from_a_file_and_equals_keras_own(tmp_path):
    keras.utils.set_random_seed(0)
    theirs = keras.applications.VGG19(include_top=False, weights=None)
    path = tmp_path / "vgg19.weights.h5"
    theirs.save_weights(path)
    image = noise((48, 32), 0)[None]
    pixels = keras.applications.vgg19.preprocess_input(255.0 * image)
    ours = build_vgg19(["relu1_1", "relu5_4"], weights=path)(image)
    for name, layer in (("relu1_1", "block1_conv1"), ("relu5_4", "block5_conv4")):
        upto = keras.Model(theirs.input, theirs.get_layer(layer).output)
        np.testing.assert_allclose(ours[name], upto(pixels), rtol=1e-3, atol=1e-3)
    (tmp_path / "wrong.weights.h5").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="does not hold the weights"):
        build_vgg19(["relu1_1"], weights=tmp_path / "wrong.weights.h5")


def test_vgg19_says_how_to_get_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"not at hand: .*vgg19.*notop.h5 is missing"
    ):
        build_vgg19(["relu1_1"])


@pytest.fixture
def files(tmp_path):
    """Photo, style and output, and the arguments of a small, quick run."""
    Image.fromarray(picture(40, 56)).save(tmp_path / "photo.png")
    Image.fromarray(picture(48, 48, 1)).save(tmp_path / "style.png")
    arguments = ["optimize", str(tmp_path / "photo.png"), "--size", "32"]
    arguments += ["--style", f"{tmp_path / 'style.png'}=2", "--preview", "2"]
    arguments += ["--content-layer", "relu2_1", "--style-layer", "relu1_1=2"]
    return tmp_path, [*arguments, "-o", str(tmp_path / "out.png")]


def test_command_line_paints_and_says_what_it_did(files, capsys):
    folder, arguments = files
    assert main([*arguments, "--iterations", "5", "--keep-colours"]) == 0
    assert decode(folder / "out.png").shape == (32, 45, 3)
    printed = capsys.readouterr().out
    assert "2  loss" in printed
    assert "style relu1_1" in printed
    assert "5 iterations" in printed
    assert sorted(path.name for path in folder.iterdir()) == [
        "out.png", "photo.png", "style.png"
    ]  # fmt: skip


def test_ctrl_c_keeps_the_best_and_resume_goes_on(files, capsys, monkeypatch):
    folder, arguments = files
    arguments += ["--iterations", "7"]
    original = atelier.Watch.__call__

    def interrupted(self, step):
        if step.iteration == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(atelier.Watch, "__call__", interrupted)
        assert main(arguments) == 130
    assert "3 iterations" in capsys.readouterr().out
    early = decode(folder / "out.png")
    state = folder / "out.state.npz"
    with np.load(state) as values:
        assert int(values["iterations"]) == 3
        terms = loss_of(arguments, values["image"])
    # Another run's state is not gone on from.
    assert main([*arguments, "--resume", "--seed", "9"]) == 1
    assert "it differs in seed" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "7 iterations, " in capsys.readouterr().out
    assert not state.exists()
    assert loss_of(arguments, to_float(decode(folder / "out.png"))) < terms
    assert (decode(folder / "out.png") != early).any()
    assert main([*arguments, "--resume"]) == 1
    assert "nothing to resume" in capsys.readouterr().err


def loss_of(arguments, image):
    """The loss of an image by the method that the command line means."""
    method = dataclasses.replace(
        Method.load("balanced"),
        content_layers={"relu2_1": 1.0},
        style_layers={"relu1_1": 2.0},
    )
    photo, style = (shown(arguments[i]) for i in (1, 5))
    terms = transfer_terms(method, photo, [(style, 1.0)])
    return sum(map(float, terms(image[None]).values()))


def shown(text):
    return resize(decode(text.partition("=")[0]), 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--content-layer", "relu9_9"], r"no layer 'relu9_9'; there are relu1_1"),
        (["--recipe", "monet"], "no recipe 'monet'; there are balanced, gatys"),
        (
            ["--style-weight", "1e30", "--style-layer", "relu2_1=1e30"],
            "no number from the start",
        ),
        (["--style-weight", "inf"], "numbers from 0 to 1e\\+30; received"),
        (["--size", "60000"], "of memory|at most"),
        (["--style", "none.png"], "none.png"),
        (["--network", "vgg19", "--weights", "none.h5"], "none.h5 is missing"),
        (["--style-scale", "0"], "above 0"),
        (["--iterations", "3", "4"], "each of the sizes"),
    ],
)
def test_bad_input_is_told_in_words_and_writes_nothing(files, capsys, options, message):
    folder, arguments = files
    arguments += [] if "--iterations" in options else ["--iterations", "2"]
    assert main([*arguments, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train: ")
    assert re.search(message, error), error
    assert not (folder / "out.png").exists()


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"none")
    with pytest.raises(TrainingError, match="damaged"):
        State.load(tmp_path / "state.npz", {})


def test_comparison_and_scores_by_optimisation(tmp_path, capsys):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
    Image.fromarray(picture(64, 64)).save(tmp_path / "content" / "a.png")
    Image.fromarray(picture(64, 64, 1)).save(tmp_path / "style" / "b.png")
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        (METHODS / "balanced.toml")
        .read_text()
        .replace("[256, 512]", "[32]")
        .replace("[150, 50]", "[2]")
    )
    sheet = tmp_path / "sheet.png"
    arguments = ["--optimize", str(recipe), "--size", "32", "-o", str(sheet)]
    arguments += ["--content", str(tmp_path / "content" / "a.png")]
    arguments += ["--style", str(tmp_path / "style" / "b.png")]
    assert main(["compare", *arguments]) == 0
    assert "a.png in b.png by quick.toml: content 0." in capsys.readouterr().out
    assert decode(sheet).shape[1] == 3 * 32


def test_the_limit_counts_the_iterations_that_reach_a_networks_loss(tmp_path, model):
    for kind, seed in (("content", 0), ("style", 1)):
        (tmp_path / kind).mkdir()
        Image.fromarray(picture(64, 64, seed)).save(tmp_path / kind / "a.png")
    (found,) = limit(model, [("a.png", "a.png")], tmp_path, size=64, most=8)
    # An untrained network is far worse than the photo itself.
    assert found.start < found.loss
    assert found.iterations == 1


def test_the_bench_times_an_iteration_beside_its_floor():
    method = dataclasses.replace(SHALLOW, sizes=(256,))
    # In a process of its own, as by the command, so that its peak memory is its own.
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        timing = pool.apply(time_iteration, (method,))
    assert timing.floor > 0
    assert timing.iteration > 0.5 * timing.floor
    assert 1 <= timing.evaluations < 3
    assert timing.peak > 0.5 * timing.expected > 0
