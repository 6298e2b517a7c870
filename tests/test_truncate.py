"""Truncation: every embedding at a share of its distance from the mean."""

import numpy as np
import pytest
from browser import GALLERY
from conftest import picture, untrained_model

from sfumato.model import StyleModel
from train.__main__ import main
from train.truncate import truncate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "wide"
    untrained_model(3, "one").save(folder)
    return folder


@pytest.mark.parametrize("psi", [0.75, 1.5])
def test_the_command_draws_embeddings_to_or_from_their_mean(folder, tmp_path, psi):
    command = ["truncate", f"--bundle={folder}", f"--style={GALLERY}", f"--psi={psi}"]
    out = tmp_path / "narrow"
    assert main([*command, f"--out={out}"]) == 0
    before, after = StyleModel.load(folder), StyleModel.load(out)
    paintings = [path for path in GALLERY.iterdir() if path.suffix == ".jpg"]
    mean = np.mean([before.embed(path) for path in paintings], axis=0)
    for style in (paintings[0], picture(80, 90)):
        expected = mean + psi * (before.embed(style) - mean)
        np.testing.assert_allclose(after.embed(style), expected, atol=1e-4)
        assert np.abs(expected - before.embed(style)).max() > 0.01
    photo, embedding = picture(40, 48), before.embed(paintings[0])
    np.testing.assert_array_equal(
        after.stylize(photo, embedding), before.stylize(photo, embedding)
    )
    assert after.manifest["training"]["truncation"] == psi
    assert "version" not in after.manifest

    assert main([*command, f"--out={out}"]) == 1
    again = tmp_path / "again"
    assert main([*command, f"--bundle={out}", f"--out={again}"]) == 0
    training = StyleModel.load(again).manifest["training"]
    assert training["truncation"] == pytest.approx(psi * psi)


@pytest.mark.parametrize("psi", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_that_leaves_no_style_is_refused(folder, psi):
    with pytest.raises(ValueError, match=f"finite and above 0, not {psi}"):
        truncate(folder, [picture(64, 64)], psi)
