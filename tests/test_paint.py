"""Pictures by the published graphs, to be scored."""

import numpy as np
import pytest
from browser import GALLERY, MODELS

from export.paint import main
from export.parity import LIMITS
from sfumato.images import center_crop, decode, resize
from sfumato.model import StyleModel

PHOTO, STYLE = "chelsea.jpg", "night-wind.jpg"


@pytest.fixture
def pairs(tmp_path):
    for kind in ("content", "style"):
        (tmp_path / kind).symlink_to(GALLERY)
    path = tmp_path / "pairs.csv"
    path.write_text(f"content,style\n{PHOTO},{STYLE}\n")
    return ["--pairs", str(path), "--root", str(tmp_path), "--size", "64"]


def test_every_precision_paints_what_the_model_paints(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["default", *pairs, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("1 of 1 pairs") == 2
    model = StyleModel.load(MODELS / "default")
    photo, style = (
        center_crop(resize(decode(GALLERY / name), 64), 64) for name in (PHOTO, STYLE)
    )
    expected = model.stylize(photo, model.embed(style, size=64)) / 255
    error = {}
    for precision in ("float16", "uint8"):
        name = "chelsea_night-wind.png"
        picture = decode(out / precision / name) / 255
        error[precision] = np.abs(picture - expected).mean()
        assert error[precision] <= LIMITS[precision]["picture"]["mean"]
    assert error["float16"] < error["uint8"]


def test_what_cannot_be_painted_is_said(pairs, models_folder, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main([str(models_folder / "untrained"), *pairs, *out]) == 1
    assert "untrained has no graphs: publish it" in capsys.readouterr().err
    for size in ("66", "12"):
        assert main(["default", *pairs, *out, "--size", size]) == 1
        assert f"--size {size} does not suit" in capsys.readouterr().err
    (tmp_path / "pairs.csv").write_text("content,style\nnowhere.jpg,embers.jpg\n")
    assert main(["default", *pairs, *out]) == 1
    assert "nowhere.jpg" in capsys.readouterr().err
    (tmp_path / "pairs.csv").write_text("photo,style\nx,y\n")
    assert main(["default", *pairs, *out]) == 1
    assert "needs the columns content and style" in capsys.readouterr().err
