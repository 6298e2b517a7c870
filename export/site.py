"""The page as a folder of files: for any web host, under any path, without a server."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from export import published
from export.graphs import ExportError
from export.parity import REPOSITORY

DIST = REPOSITORY / "web/dist"


def write_site(
    folder: Path,
    models: Path,
    gallery: Path,
    names: Sequence[str] = (),
    dist: Path = DIST,
) -> list[str]:
    """Writes the built page with these models, or all, and the gallery; returns the
    models' names.

    An earlier site in the folder is replaced part by part, each in one step; other
    files beside it stay. ExportError, with nothing written, where the page is not
    built, a model is missing, or the folder holds something else.
    """
    if not (dist / "index.html").is_file():
        raise ExportError(
            f"The page is not built: there is no index.html in {dist}. Run "
            "`make web/dist/index.html` first."
        )
    if folder.exists() and not _is_replaceable(folder):
        raise ExportError(
            f"{folder} is no empty folder and no site that this program wrote: "
            "choose another one, or empty it first."
        )
    with published.locked(models):
        index = published.chosen(models, names)
        if not index["models"]:
            raise ExportError(f"No model is published in {models} yet.")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as place:
            partial = Path(place)
            shutil.copytree(
                dist,
                partial,
                # What only this project's server hands out.
                ignore=shutil.ignore_patterns("*.gz", "*.br"),
                dirs_exist_ok=True,
            )
            shutil.copytree(gallery, partial / "gallery")
            for name in index["models"]:
                shutil.copytree(models / name, partial / "models" / name)
            # The page then offers no server that could paint.
            published.write_index(partial / "models", index | {"static": True})
            # The page itself comes last: what it refers to is there by then.
            parts = sorted(partial.iterdir(), key=lambda part: part.suffix == ".html")
            for part in parts:
                published.put(part, folder / part.name)
    return list(index["models"])


def _is_replaceable(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        index = json.loads((folder / "models" / published.INDEX).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("static") is True
