"""The model on the server: what goes in, what comes out, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, picture
from PIL import Image

from sfumato.__main__ import MODELS, main
from sfumato.images import ImageError, decode, encode, resize, to_float
from sfumato.model import BundleError, StyleModel, mix
from sfumato.predictor import PredictorConfig, build_predictor
from sfumato.transformer import MIN_SIZE

PHOTO = picture(48, 61, seed=1)
SHAPES = [
    (MIN_SIZE, MIN_SIZE),
    (MIN_SIZE, MIN_SIZE + 1),
    (MIN_SIZE + 1, MIN_SIZE),
    (23, 301),
    (255, 22),
    *map(tuple, np.random.default_rng(0).integers(MIN_SIZE, 160, (16, 2)).tolist()),
]


def published() -> list[str]:
    """The names of the models that this checkout publishes."""
    index = MODELS / "index.json"
    return json.loads(index.read_text())["models"] if index.is_file() else []


def test_a_saved_model_comes_back_the_same(model, tmp_path):
    model.save(tmp_path)
    loaded = StyleModel.load(tmp_path)
    assert loaded.manifest == model.manifest
    embedding = model.embed(picture(64, 64, seed=2))
    np.testing.assert_array_equal(loaded.embed(picture(64, 64, seed=2)), embedding)
    np.testing.assert_array_equal(
        loaded.stylize(PHOTO, embedding), model.stylize(PHOTO, embedding)
    )


def test_folders_that_are_no_model(model, tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        StyleModel.load(tmp_path)
    model.save(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(model.manifest | {"format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        StyleModel.load(tmp_path)
    manifest.write_text(json.dumps(model.manifest)[:100])
    with pytest.raises(BundleError, match="damaged"):
        StyleModel.load(tmp_path)
    model.save(tmp_path)
    (tmp_path / "transformer.weights.h5").write_bytes(b"not weights")
    with pytest.raises(BundleError, match="damaged"):
        StyleModel.load(tmp_path)
    (tmp_path / "transformer.weights.h5").unlink()
    with pytest.raises(BundleError, match=r"transformer\.weights\.h5 is missing"):
        StyleModel.load(tmp_path)


def test_a_deeper_predictor_starts_as_the_one_it_grew_from():
    """Residual blocks come without effect: what a trained predictor knows is kept
    when it grows."""
    shallow = build_predictor(PredictorConfig(widths=(8, 12)))
    deep = build_predictor(PredictorConfig((8, 12), residual_blocks=2))
    for layer in (layer for layer in shallow.layers if layer.weights):
        deep.get_layer(layer.name).set_weights(layer.get_weights())
    style = to_float(picture(40, 56, seed=2))[None]
    np.testing.assert_allclose(deep(style), shallow(style), atol=1e-6)
    assert deep.count_params() > shallow.count_params()


def test_every_kind_of_image_gives_the_same(model, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(PHOTO))
    embedding = model.embed(PHOTO)
    painted = model.stylize(PHOTO, embedding)
    for source in (
        PHOTO / 255.0,
        (PHOTO / 255.0).astype(np.float32),
        Image.fromarray(PHOTO),
        path,
        str(path),
        path.read_bytes(),
    ):
        np.testing.assert_array_equal(model.embed(source), embedding)
        np.testing.assert_array_equal(model.stylize(source, embedding), painted)


def test_a_style_is_seen_larger_for_larger_pictures(model):
    style = picture(300, 400, seed=3)
    for size, scale, height in (
        (None, 1.0, 256),
        (256, 1.0, 256),
        (64, 1.0, 128),
        (1024, 1.0, 512),
        (512, 1.0, 362),
        (1024, 0.5, 256),
    ):
        assert model.seen(style, scale, size).shape[0] == height
    np.testing.assert_array_equal(
        model.embed(style, size=1024), model.embed(style, 2.0)
    )
    strip = picture(20, 1000, seed=4)
    assert model.seen(strip, 2.0, 1024).shape[:2] == (290, 14500)


def test_an_embedding_depends_on_the_style_and_not_on_its_size(model):
    style = picture(256, 300, seed=3)
    embedding = model.embed(style)
    assert embedding.dtype == np.float32
    assert embedding.shape == (model.manifest["embedding_size"],)
    other = model.embed(picture(256, 300, seed=4))
    larger = model.embed(resize(style, 700))
    assert np.linalg.norm(larger - embedding) < 0.1 * np.linalg.norm(other - embedding)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_painting_has_exactly_the_photos_size(model, shape):
    painted = model.stylize(picture(*shape), model.embed(PHOTO))
    assert painted.dtype == np.uint8
    assert painted.shape == (*shape, 3)


def test_the_padding_to_the_size_multiple_is_not_seen(model):
    flat = np.full((64, 64, 3), (90, 140, 200), np.uint8)
    embedding = model.embed(PHOTO)
    even = model.stylize(flat, embedding)
    odd = model.stylize(flat[:61, :59], embedding)
    np.testing.assert_allclose(odd, even[:61, :59].astype(int), atol=1)


@pytest.mark.parametrize("name", [None, *published()])
@pytest.mark.parametrize("colour", [(235, 200, 40), (20, 30, 70), (128, 128, 128)])
def test_a_flat_photo_stays_flat_at_its_edges(model, name, colour):
    painter = model if name is None else StyleModel.load(MODELS / name)
    flat = np.full((61, 82, 3), colour, np.uint8)
    painted = painter.stylize(flat, painter.embed(picture(256, 256, seed=5)))
    middle = painted[30, 40].astype(int)
    assert np.abs(painted - middle).max() <= 1


def test_strength_dials_between_the_photos_own_style_and_the_given_one(model):
    style = model.embed(picture(64, 64, seed=6))
    own = model.embed(PHOTO, size=min(decode(PHOTO).shape[:2]))
    given = model.stylize(PHOTO, style)
    np.testing.assert_array_equal(model.stylize(PHOTO, style, 1.0), given)
    np.testing.assert_array_equal(
        model.stylize(PHOTO, style, 0.0), model.stylize(PHOTO, own)
    )
    for strength in (0.4, 1.7):
        dialled = own + np.float32(strength) * (style - own)
        np.testing.assert_array_equal(
            model.stylize(PHOTO, style, strength), model.stylize(PHOTO, dialled)
        )
    assert np.abs(given.astype(int) - model.stylize(PHOTO, own)).mean() > 1


def test_mix_is_the_weighted_mean():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 100)).astype(np.float32)
    mixed = mix([(first, 0.6), (second, 0.2)])
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, 0.75 * first + 0.25 * second, atol=1e-6)
    np.testing.assert_array_equal(mix([(first, 3.0)]), first)
    np.testing.assert_array_equal(mix([(first, 1.0), (second, 0.0)]), first)
    np.testing.assert_allclose(
        mix([(first, 1e308), (second, 1e308)]), (first + second) / 2, atol=1e-6
    )


@pytest.mark.parametrize(
    "weights", [[], [0.0], [0.0, 0.0], [1.0, -0.1], [1.0, np.nan], [np.inf, 1.0]]
)
def test_weights_that_cannot_be_mixed(weights):
    with pytest.raises(ValueError, match="Weights must be finite, not negative"):
        mix([(np.zeros(100, np.float32), weight) for weight in weights])


def test_what_stylize_refuses(model):
    embedding = model.embed(PHOTO)
    with pytest.raises(ImageError, match=rf"40 x {MIN_SIZE - 1} pixels.*{MIN_SIZE}"):
        model.stylize(picture(MIN_SIZE - 1, 40), embedding)
    with pytest.raises(ValueError, match=r"100 numbers.*\[99\]"):
        model.stylize(PHOTO, embedding[:99])
    for strength in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            model.stylize(PHOTO, embedding, strength)
    with pytest.raises(ValueError, match="finite"):
        model.stylize(PHOTO, embedding * np.float32(np.nan))


@pytest.fixture
def pictures(tmp_path) -> Path:
    for name, seed in (("photo", 1), ("a", 8), ("b", 9)):
        (tmp_path / f"{name}.png").write_bytes(encode(picture(48, 61, seed)))
    return tmp_path


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sfumato", *map(str, arguments)],
        cwd=cwd,
        # The rest as it is here: by OPENBLAS_CORETYPE, for one, sums differ in their
        # last bits.
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_command_line_stylize(model, models_folder, pictures):
    done = run(
        *("stylize", "photo.png", "--style", "a.png=0.6", "--style", "b.png=0.2"),
        *("--strength", "0.8", "--size", "40", "-o", "out.png"),
        *("--model", models_folder / "untrained"),
        cwd=pictures,
    )
    assert done.returncode == 0, done.stderr
    a, b = (model.embed(pictures / name, size=40) for name in ("a.png", "b.png"))
    style = mix([(a, 0.6), (b, 0.2)])
    photo = resize(decode(pictures / "photo.png"), 40)
    np.testing.assert_array_equal(
        decode(pictures / "out.png"), model.stylize(photo, style, 0.8)
    )


@pytest.mark.parametrize("size", [None, 100])
def test_command_line_embed(model, models_folder, pictures, size):
    asked = () if size is None else ("--size", str(size))
    folder = models_folder / "untrained"
    done = run("embed", "a.png", *asked, "--model", folder, cwd=pictures)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(
        np.array(json.loads(done.stdout), np.float32),
        model.embed(pictures / "a.png", size=size),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photo}", "--style", "{photo}=0"], "not all 0; received [0.0]"),
        (["{photo}", "--style", "{photo}", "--strength", "nan"], "finite"),
        (["{photo}", "--style", "{photo}", "--size", "8"], "--size 8 is too small"),
        (["{photo}", "--style", "{text}"], "not an image"),
        (["missing.png", "--style", "{photo}"], "missing.png"),
    ],
)
def test_command_line_errors(arguments, message, models_folder, pictures, capsys):
    text = pictures / "notes.png"
    text.write_text("buy milk")
    names = {"photo": pictures / "photo.png", "text": text}
    output = pictures / "out.png"
    code = main(
        [
            "stylize",
            *(argument.format(**names) for argument in arguments),
            *("--model", str(models_folder / "untrained"), "-o", str(output)),
        ]
    )
    assert code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not output.exists()
