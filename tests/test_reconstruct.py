"""Reconstructions and the grid of weights."""

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from sfumato.images import decode, to_uint8
from train.__main__ import main
from train.reconstruct import from_content, from_style, psnr
from train.sheet import LABEL_HEIGHT


def test_psnr_by_hand():
    black = np.zeros((2, 2, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == pytest.approx(0.0)
    assert psnr(black, black + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(black, black) == np.inf


def test_content_comes_back_from_a_low_layer_and_fades_with_depth():
    image = picture(64, 64)
    decibels = [
        psnr(to_uint8(from_content(image, layer, iterations=60).image), image)
        for layer in ("relu1_2", "relu3_1")
    ]
    assert decibels[0] >= 25
    assert decibels[1] < decibels[0] - 3


def test_style_comes_back_without_the_scene():
    image = picture(64, 64)
    outcome = from_style(image, 1, iterations=30)
    assert outcome.loss < 0.02
    assert psnr(to_uint8(outcome.image), image) < 20


def test_command_line_draws_a_row_or_a_picture(tmp_path, capsys):
    Image.fromarray(picture(64, 48)).save(tmp_path / "image.png")
    common = ["reconstruct", str(tmp_path / "image.png"), "--size", "48"]
    common += ["--iterations", "2", "-o", str(tmp_path / "out.png")]
    assert main([*common, "--content", "relu1_1", "relu2_1", "--style", "1"]) == 0
    assert decode(tmp_path / "out.png").shape == (LABEL_HEIGHT + 48, 4 * 48, 3)
    printed = capsys.readouterr().out
    assert "relu2_1 " in printed
    assert "layers 1-1 0." in printed
    assert main([*common, "--style", "1"]) == 0
    assert decode(tmp_path / "out.png").shape == (48, 48, 3)
    assert main([*common, "--content", "relu7"]) == 1
    assert "there are relu1_1" in capsys.readouterr().err
    assert main(common) == 1
    assert "--content LAYER" in capsys.readouterr().err


def test_command_line_draws_the_tradeoff(tmp_path, capsys):
    Image.fromarray(picture(48, 64)).save(tmp_path / "photo.png")
    Image.fromarray(picture(48, 48, 1)).save(tmp_path / "style.png")
    arguments = ["tradeoff", str(tmp_path / "photo.png"), "--size", "32"]
    arguments += ["--style", str(tmp_path / "style.png"), "--iterations", "2"]
    arguments += ["--content-layer", "relu1_1", "--style-layer", "relu1_1"]
    arguments += ["--content-weights", "1", "--style-weights", "0", "10"]
    assert main([*arguments, "-o", str(tmp_path / "out.jpg")]) == 0
    figure = decode(tmp_path / "out.jpg")
    assert figure.shape[1] > figure.shape[0] > 200
    assert figure.std() > 10
