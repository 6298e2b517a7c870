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
    assert after.manifest["training"]["truncation"] == [[psi]]
    assert "version" not in after.manifest

    assert main([*command, f"--out={out}"]) == 1
    again = tmp_path / "again"
    assert main([*command, f"--bundle={out}", f"--out={again}"]) == 0
    training = StyleModel.load(again).manifest["training"]
    assert training["truncation"] == [[psi], [psi]]


def test_along_each_principal_axis_by_its_own_share(folder, tmp_path):
    psi = [0.5, 0.5, 0.9, 0.7]
    command = ["truncate", f"--bundle={folder}", f"--style={GALLERY}"]
    out = tmp_path / "narrow"
    shares = ["--psi", "0.5x2", "0.9", "0.7"]
    assert main([*command, *shares, f"--out={out}"]) == 0
    before, after = StyleModel.load(folder), StyleModel.load(out)
    paintings = [path for path in GALLERY.iterdir() if path.suffix == ".jpg"]
    embeddings = np.stack([before.embed(path) for path in paintings])
    mean = embeddings.mean(axis=0)
    _, _, axes = np.linalg.svd(embeddings - mean)
    for style in (paintings[0], picture(80, 90)):
        moves = [axes @ (model.embed(style) - mean) for model in (before, after)]
        np.testing.assert_allclose(moves[1][:4], psi * moves[0][:4], atol=1e-4)
        np.testing.assert_allclose(moves[1][4:], 0.7 * moves[0][4:], atol=1e-4)
        assert np.abs(moves[0][:3]).max() > 0.01
    assert after.manifest["training"]["truncation"] == [psi]


@pytest.mark.parametrize("shares", [["half"], ["0.8xmany"], ["0.8x0", "0.9"]])
def test_what_is_no_psi_is_refused(folder, tmp_path, capsys, shares):
    command = ["truncate", f"--bundle={folder}", f"--style={GALLERY}"]
    out = tmp_path / "narrow"
    with pytest.raises(SystemExit):
        main([*command, f"--out={out}", "--psi", *shares])
    assert f"'{shares[0]}'" in capsys.readouterr().err


def test_more_shares_than_axes_are_refused(folder):
    size = StyleModel.load(folder).manifest["embedding_size"]
    with pytest.raises(ValueError, match=f"for 1 to {size} axes, not {size + 1}"):
        truncate(folder, [picture(64, 64)], [0.8] * (size + 1))


@pytest.mark.parametrize("psi", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_that_leaves_no_style_is_refused(folder, psi):
    with pytest.raises(ValueError, match=f"finite and above 0, not {psi}"):
        truncate(folder, [picture(64, 64)], [0.9, psi])
