"""docs/your-own-model.md can be followed: its commands run, in short."""

import re
import shlex
import subprocess
import sys

import numpy as np
from browser import ROOT
from PIL import Image

from sfumato.model import StyleModel

DOCUMENT = ROOT / "docs" / "your-own-model.md"


def commands(text: str) -> list[list[str]]:
    """The commands in the blocks marked sh."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_commands_of_your_own_model_run(tmp_path):
    for name in ("web", "export"):
        (tmp_path / name).symlink_to(ROOT / name)
    models = tmp_path / "models"
    # By the commands' own options: fewer steps, and not into the page's models.
    shorter = {"finetune": ["--steps", "2"], "export/convert.py": ["--models", models]}
    found = commands(DOCUMENT.read_text())
    assert len(found) == 4
    for python, *arguments in found:
        assert python == ".venv/bin/python"
        extra = [
            option
            for name, options in shorter.items()
            if name in arguments
            for option in options
        ]
        done = subprocess.run(
            [sys.executable, *map(str, [*arguments, *extra])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
    assert len(list((tmp_path / "my-paintings").iterdir())) == 20
    with Image.open(tmp_path / "runs/mine/samples/0000002.png") as sheet:
        assert np.asarray(sheet).std() > 20
    with Image.open(tmp_path / "comparison.png") as comparison:
        # Photo, style, default and mine; a line of names over two rows.
        assert comparison.width == 4 * 256
    assert (models / "index.json").is_file()
    assert StyleModel.load(models / "mine").manifest["training"]["paintings"] == 20


def test_the_pictures_of_the_documents_are_there():
    for document in (ROOT / "README.md", DOCUMENT):
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", document.read_text()):
            with Image.open(document.parent / target) as picture:
                picture.load()
