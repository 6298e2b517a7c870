"""Scoring: the anchors by definition, the peers' published scores reproduced."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from sfumato.images import decode
from train import evaluate
from train.__main__ import main
from train.methods import by_tflite
from train.sheet import LABEL_HEIGHT

PAIRS = [("photo.png", "painting.png")]


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for kind, name in (("content", "photo"), ("style", "painting")):
        (tmp_path / kind).mkdir()
        field = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
        field.resize((320, 300)).save(tmp_path / kind / f"{name}.png")
    return tmp_path


@pytest.fixture
def bundle(models_folder, tmp_path):
    return shutil.copytree(models_folder / "untrained", tmp_path / "untrained")


def test_the_photo_itself_has_no_content_distance(root):
    (score,) = evaluate.evaluate(PAIRS, root, lambda pair, photo, painting: photo)
    assert score.content == score.alexnet_content == 0.0
    assert 0.0 < score.style < 1.0
    assert score.style == pytest.approx(np.mean(score.layers))


def test_the_painting_itself_has_no_style_distance(root):
    (score,) = evaluate.evaluate(PAIRS, root, lambda pair, photo, painting: painting)
    assert score.style == score.alexnet_style == 0.0
    assert 0.5 < score.content < 2.0


def test_a_picture_of_another_size_is_refused(root):
    with pytest.raises(evaluate.EvaluationError, match=r"\[100, 256, 3\]"):
        list(
            evaluate.evaluate(PAIRS, root, lambda pair, photo, painting: painting[:100])
        )


def test_summary_of_two_scores():
    low = evaluate.PairScore("a", "b", 1.0, 0.2, (0.1, 0.2, 0.2, 0.3), 1.5, 0.4)
    high = evaluate.PairScore("c", "d", 2.0, 0.4, (0.3, 0.4, 0.4, 0.5), 0.5, 0.6)
    summary = evaluate.summarise([low, high])
    assert summary["content"] == 1.5
    assert summary["style"] == pytest.approx(0.3)
    assert summary["style_relu4_3"] == pytest.approx(0.4)
    assert summary["style_p10"] == pytest.approx(0.22)
    assert summary["style_p90"] == pytest.approx(0.38)
    assert summary["alexnet_style"] == pytest.approx(0.5)


def test_command_line_scores_pictures_and_saves_a_bundles_scores(
    root, bundle, tmp_path, capsys
):
    (tmp_path / "pairs.csv").write_text("content,style\nphoto.png,painting.png\n")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photo = Image.open(root / "content" / "photo.png").resize((273, 256))
    photo.crop((8, 0, 264, 256)).save(pictures / "photo_painting.png")
    common = ["evaluate", "--pairs", str(tmp_path / "pairs.csv"), "--root", str(root)]
    out = tmp_path / "scores.csv"
    arguments = ["--images", str(pictures), "--bundle", str(bundle), "--save"]
    assert main([*common, *arguments, "--csv", str(out)]) == 0
    assert f"| {pictures} | 0.0" in capsys.readouterr().out
    with out.open() as file:
        methods = [row["method"] for row in csv.DictReader(file)]
    assert methods == [str(bundle), str(pictures)]
    saved = json.loads((bundle / "manifest.json").read_text())["scores"]["256"]
    assert saved["pairs"] == 1
    assert 0.0 < saved["style"] < 1.0


def test_sheet_holds_every_photo_in_every_style(root, bundle, model, tmp_path):
    photo, painting = root / "content" / "photo.png", root / "style" / "painting.png"
    out = tmp_path / "sheet.png"
    arguments = ["--bundle", str(bundle), "--size", "64", "-o", str(out)]
    arguments += ["--content", str(photo), "--style", str(painting), str(photo)]
    assert main(["sheet", *arguments]) == 0
    sheet = decode(out)
    assert sheet.shape == (128, 192, 3)
    photo_tile, result = sheet[64:, :64], sheet[64:, 64:128]
    style = sheet[:64, 64:128]
    expected = model.stylize(photo_tile, model.embed(style, size=64))
    np.testing.assert_array_equal(result, expected)


def test_comparison_has_a_column_for_each_method(root, bundle, model, tmp_path):
    photo, painting = root / "content" / "photo.png", root / "style" / "painting.png"
    out = tmp_path / "comparison.png"
    arguments = ["--bundle", str(bundle), "--size", "64", "-o", str(out)]
    arguments += ["--content", str(photo), str(painting), "--style", str(painting)]
    assert main(["compare", *arguments]) == 0
    sheet = decode(out)
    assert sheet.shape == (LABEL_HEIGHT + 128, 192, 3)
    labels, row = sheet[:LABEL_HEIGHT], sheet[LABEL_HEIGHT : LABEL_HEIGHT + 64]
    for column in range(3):
        assert labels[:, column * 64 : (column + 1) * 64].min() < 50
    np.testing.assert_array_equal(row[:, 64:128], evaluate.square(painting, 64))
    expected = model.stylize(row[:, :64], model.embed(row[:, 64:128], size=64))
    np.testing.assert_array_equal(row[:, 128:], expected)
    with pytest.raises(SystemExit):
        main(["compare", *arguments[2:]])


def test_command_line_says_what_is_missing(root, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("content,style\nphoto.png,painting.png\n")
    common = ["evaluate", "--pairs", str(tmp_path / "pairs.csv"), "--root", str(root)]
    assert main([*common, "--images", str(tmp_path / "none")]) == 1
    assert "photo_painting.png is missing" in capsys.readouterr().err
    assert main([*common, "--tflite", str(tmp_path)]) == 1
    assert "predict.tflite is missing" in capsys.readouterr().err


def test_published_anchor_scores_are_reproduced(shared):
    validation = shared / "data" / "validation"
    pairs = evaluate.read_pairs(validation / "pairs.csv")
    # One evaluation for both, as it looks at each photo and painting only once.
    anchors = itertools.chain(["photo"] * len(pairs), ["painting"] * len(pairs))

    def unchanged(pair, photo, painting):
        return photo if next(anchors) == "photo" else painting

    scores = list(evaluate.evaluate(pairs + pairs, validation, unchanged))
    names = ("content", "style", "alexnet_content", "alexnet_style")
    for of_anchor, expected in (
        (scores[: len(pairs)], [0.0, 0.5806, 0.0, 0.7502]),
        (scores[len(pairs) :], [1.7774, 0.0, 1.7231, 0.0]),
    ):
        summary = evaluate.summarise(of_anchor)
        assert [summary[name] for name in names] == pytest.approx(expected, rel=0.01)


def test_published_scores_of_the_tflite_peer_are_reproduced_pair_by_pair(shared):
    validation = shared / "data" / "validation"
    with (shared / "peers" / "scores" / "magenta-mobile.csv").open() as file:
        rows = list(csv.DictReader(file))[::10]
    pairs = [(row["content"], row["style"]) for row in rows]
    stylize = by_tflite(shared / "peers" / "magenta-mobile")
    scores = list(evaluate.evaluate(pairs, validation, stylize))
    for row, score in zip(rows, scores, strict=True):
        expected = [float(row["content_distance"]), float(row["style_distance"])]
        assert [score.content, score.style] == pytest.approx(expected, rel=0.01)
