"""Several models become one: the mean of their weights."""

import numpy as np
import pytest

from sfumato.model import BundleError, StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig
from train.__main__ import main
from train.average import average

READER = PredictorConfig(widths=(4, 8))
PAINTER = TransformerConfig(widths=(4, 8, 12), residual_blocks=1, separable=True)


@pytest.fixture
def parts(tmp_path):
    """Two model folders, every weight 1 in the first and 5 in the second."""
    folders = []
    for value, seconds in ((1.0, 60), (5.0, 30)):
        training = {"recipe": f"of-{value:.0f}", "seconds": seconds}
        model = StyleModel(READER, PAINTER, {"name": "no", "training": training})
        for network in (model.predictor, model.transformer):
            for weight in network.weights:
                weight.assign(np.full(weight.shape, value))
        folders.append(tmp_path / f"of-{value:.0f}")
        model.save(folders[-1])
    return folders


def test_the_command_writes_the_weighted_mean(parts, tmp_path, capsys):
    out = tmp_path / "mean"
    bundles = [f"--bundle={parts[0]}=3", f"--bundle={parts[1]}"]
    assert main(["average", *bundles, f"--out={out}"]) == 0
    model = StyleModel.load(out)
    weights = model.predictor.weights + model.transformer.weights
    assert len(weights) > 20
    for weight in weights:
        np.testing.assert_array_equal(weight, np.full(weight.shape, 2.0))
    assert "name" not in model.manifest
    training = model.manifest["training"]
    assert training["recipe"] == "of-1"
    assert training["seconds"] == 60
    assert [(part["share"], part["recipe"]) for part in training["averaged"]] == [
        (0.75, "of-1"),
        (0.25, "of-5"),
    ]

    before = (out / "manifest.json").read_bytes()
    capsys.readouterr()
    assert main(["average", *bundles, f"--out={out}"]) == 1
    assert f"{out} exists" in capsys.readouterr().err
    assert (out / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_weights_that_have_no_mean_are_refused(parts, weights):
    with pytest.raises(ValueError, match="finite, not negative and not all 0"):
        average(list(zip(parts, weights, strict=True)))


def test_models_of_different_architectures_are_refused(parts, tmp_path):
    wider = TransformerConfig(widths=(4, 8, 16), residual_blocks=1, separable=True)
    StyleModel(READER, wider).save(tmp_path / "wider")
    with pytest.raises(BundleError, match=r"transformer in .*wider.* one architecture"):
        average([(parts[0], 1.0), (tmp_path / "wider", 1.0)])
