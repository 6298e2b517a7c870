"""Texture synthesis: what is matched, sizes, and seams."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sfumato.images import decode, to_float, to_uint8
from train.__main__ import main
from train.evaluate import VGG_STYLE, grams, style_distances
from train.texture import LAYERS, texture, texture_method
from train.vgg import build_vgg16


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    """Soft coloured blobs: neighbouring pixels are alike."""
    field = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    soft = Image.fromarray(field).filter(ImageFilter.GaussianBlur(3))
    values = np.asarray(soft, np.float32)
    return to_uint8((values - values.min()) / np.ptp(values))


def seam(image: np.ndarray) -> float:
    """The step across the left and right, top and bottom borders, laid side by side,
    next to the step between neighbours elsewhere: about 1 where there is no seam."""
    image = image.astype(np.float64)
    ratios = []
    for pixels in (image, image.transpose(1, 0, 2)):
        inside = np.abs(np.diff(pixels, axis=1)).mean()
        ratios.append(np.abs(pixels[:, 0] - pixels[:, -1]).mean() / inside)
    return float(np.mean(ratios))


def test_a_texture_has_its_source_style_at_another_size(source):
    outcome = texture(source, (48, 64), layers=2, iterations=(20, 20))
    assert outcome.image.shape == (48, 64, 3)
    network = build_vgg16(VGG_STYLE)
    distances = style_distances(
        network(outcome.image[None]), VGG_STYLE, grams(network, source, VGG_STYLE)
    )
    # The two layers that were matched.
    assert max(distances[:2]) < 0.05
    assert outcome.loss == pytest.approx(sum(distances[:2]), rel=0.01)


def test_a_seamless_texture_has_no_seam(source):
    plain, tileable = (
        to_uint8(texture(source, (48, 48), 2, seamless=s, iterations=(20, 20)).image)
        for s in (False, True)
    )
    assert seam(plain) > 1.8
    assert seam(tileable) < 1.5


def test_the_layers_matched_are_the_first_ones():
    assert tuple(texture_method(3).style_layers) == LAYERS[:3]
    assert texture_method(5).content_layers == {}
    assert dataclasses.replace(texture_method()).optimizer == "lbfgs"


def test_command_line_is_seeded(source, tmp_path):
    Image.fromarray(source).save(tmp_path / "source.png")
    pictures = []
    for seed in (1, 1, 2):
        out = tmp_path / "out.png"
        arguments = ["texture", str(tmp_path / "source.png"), "--size", "48x32"]
        arguments += ["--source-size", "48", "--layers", "1", "--seed", str(seed)]
        arguments += ["--iterations", "2", "2", "-o", str(out)]
        assert main(arguments) == 0
        pictures.append(to_float(decode(out)))
    assert pictures[0].shape == (32, 48, 3)
    np.testing.assert_allclose(pictures[0], pictures[1], atol=2 / 255)
    assert np.abs(pictures[0] - pictures[2]).mean() > 0.05


@pytest.mark.parametrize("size", ["big", "8", "32x"])
def test_a_size_is_told_how_it_is_written(size, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["texture", "a.png", "--size", size, "-o", str(tmp_path / "out.png")])
    assert "such as 512 or 640x480" in capsys.readouterr().err
