"""The folder of published models: a bundle for each, and index.json that lists them.

Every change happens under a lock, and replaces or renames whole folders: whoever
reads meanwhile finds the old or the new. What is refused has changed nothing.
"""

import ctypes
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.graphs import ExportError
from sfumato.model import FORMAT, MANIFEST

INDEX = "index.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

Index = dict[str, Any]


def check_name(name: str) -> None:
    """ExportError for what cannot be a model's name; one with a path in it cannot."""
    if not NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} is no name for a model: use letters, digits, - and _."
        )


def read_index(models: Path, new: dict[str, Any] | None = None) -> Index:
    """{"default": name, "models": {name: card}}, read from the bundles themselves.

    new: cards that count in place of what lies under their names.

    A card has the version, the title, the description, data, licence and scores as
    far as they are known, and the bytes to download by precision; the first of the
    precisions is the model's own, the others are for slow connections. ExportError
    for a bundle that is damaged or of another format.
    """
    cards = dict(new or {})
    for path in models.glob(f"*/{MANIFEST}"):
        bundle = path.parent
        if NAME.fullmatch(bundle.name) and bundle.name not in cards:
            cards[bundle.name] = _card(_manifest(bundle))
    cards = dict(sorted(cards.items()))
    index = models / INDEX
    default = _read_json(index).get("default") if index.exists() else None
    if default not in cards:
        default = next(iter(new or cards), None)
    return {"default": default, "models": cards}


def install(bundle: Path, models: Path, name: str) -> None:
    """Puts a finished bundle in place, in one step, and lists it."""
    check_name(name)
    models.mkdir(parents=True, exist_ok=True)
    with locked(models):
        index = read_index(models, {name: _card(_manifest(bundle))})
        with _copied(bundle, models, name) as copy:
            put(copy, models / name)
        write_index(models, index)


def rename(models: Path, old: str, new: str) -> None:
    """Gives a model another name; it stays the default if it was."""
    check_name(new)
    with locked(models):
        index = read_index(models)
        _require(index, old)
        if (models / new).exists():
            raise ExportError(
                f"There is a model {new!r} already: remove it first, or choose "
                "another name."
            )
        with _copied(models / old, models, new) as copy:
            manifest = _manifest(copy) | {"name": new}
            (copy / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            put(copy, models / new)
        index["models"][new] = _card(manifest)
        del index["models"][old]
        if index["default"] == old:
            index["default"] = new
        write_index(models, index)
        _discard(models / old)


def remove(models: Path, name: str) -> None:
    """Deletes a model; ExportError for the default, without which no page opens."""
    with locked(models):
        index = read_index(models)
        _require(index, name)
        if index["default"] == name:
            raise ExportError(
                f"{name!r} is the default, which the page opens with: choose another "
                "one with --default first."
            )
        del index["models"][name]
        write_index(models, index)
        _discard(models / name)


def make_default(models: Path, name: str) -> None:
    """The page opens with this model from now on, and the server takes it."""
    with locked(models):
        index = read_index(models)
        _require(index, name)
        write_index(models, index | {"default": name})


def chosen(models: Path, names: Sequence[str]) -> Index:
    """The index with these models only, the first of them the default; without
    names, all."""
    index = read_index(models)
    for name in names:
        _require(index, name)
    if names:
        cards = {name: index["models"][name] for name in names}
        return {"default": names[0], "models": cards}
    return index


def write_index(models: Path, index: Index) -> None:
    new = models / f".{INDEX}.partial"
    new.write_text(json.dumps(index, indent=1) + "\n")
    new.replace(models / INDEX)


def put(new: Path, target: Path) -> None:
    """Renames `new` to `target`; what is there already changes places with it."""
    if not target.exists():
        new.rename(target)
        return
    at_cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(target), exchange):
        code = ctypes.get_errno()
        raise ExportError(f"{target} cannot be replaced: {os.strerror(code)}.")


@contextmanager
def locked(models: Path) -> Iterator[None]:
    """Keeps two processes from changing one folder of models at the same time."""
    if not models.is_dir():
        raise ExportError(f"There is no folder of published models at {models}.")
    descriptor = os.open(models, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _copied(bundle: Path, models: Path, name: str) -> Iterator[Path]:
    """A copy beside the place where it belongs; whatever lies there at the end is
    deleted."""
    partial = _partial(models / name)
    # What an interrupted run may have left.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(bundle, partial)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _discard(bundle: Path) -> None:
    """Deletes a bundle; nobody sees it half deleted."""
    partial = _partial(bundle)
    shutil.rmtree(partial, ignore_errors=True)
    bundle.rename(partial)
    shutil.rmtree(partial)


def _partial(bundle: Path) -> Path:
    return bundle.with_name(f".{bundle.name}.partial")


def _require(index: Index, name: str) -> None:
    check_name(name)
    if name not in index["models"]:
        known = ", ".join(index["models"]) or "none"
        raise ExportError(f"There is no model {name!r}; there are: {known}.")


def _card(manifest: dict[str, Any]) -> dict[str, Any]:
    downloads = [manifest, *manifest.get("variants", ())]
    card = {
        "title": manifest["name"],
        "version": manifest["version"],
        "downloads": {one["precision"]: one["download_bytes"] for one in downloads},
    }
    for entry in ("title", "description", "data", "licence"):
        if manifest.get(entry):
            card[entry] = manifest[entry]
    scores = {
        size: {kind: round(score[kind], 4) for kind in ("content", "style")}
        for size, score in manifest.get("scores", {}).items()
        if isinstance(score, dict)
    }
    return card | ({"scores": scores} if scores else {})


def _manifest(bundle: Path) -> dict[str, Any]:
    manifest = _read_json(bundle / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise ExportError(
            f"{bundle} has the bundle format {manifest.get('format')}, and this "
            f"version of Sfumato knows format {FORMAT}: use the version that "
            "published it, or move it elsewhere."
        )
    missing = {"name", "version", "precision", "download_bytes"} - manifest.keys()
    if missing:
        raise ExportError(
            f"{bundle} was not published by convert.py (its manifest lacks "
            f"{', '.join(sorted(missing))}): publish it, or move it elsewhere."
        )
    return manifest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ExportError(
            f"{path} is damaged ({error}): restore or remove it."
        ) from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} is damaged: restore or remove it.")
    return content
