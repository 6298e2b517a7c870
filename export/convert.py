"""Publishes a trained model for the browser: python export/convert.py --help

The graphs are checked before anything is published; what fails a check leaves
the models folder as it was. See export/parity.py for the limits.
"""

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export import parity
from export.graphs import (
    OUTPUTS,
    PRECISIONS,
    ExportError,
    convert_graph,
    inference_networks,
    ops,
    save_networks,
)
from sfumato.model import MANIFEST, BundleError, StyleModel

MODELS = parity.REPOSITORY / "web/public/models"
GALLERY = parity.REPOSITORY / "web/public/gallery"
INDEX = "index.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def publish(
    model: StyleModel,
    name: str,
    precision: str = "float16",
    models: Path = MODELS,
    gallery: Path = GALLERY,
) -> dict[str, Any]:
    """Converts, checks and publishes `model` as models/name; returns its manifest.

    precision: of the weights that the browser downloads, one of PRECISIONS. An
    earlier bundle of that name is replaced in one step. ExportError, with nothing
    published, for a bad name, an op that a browser backend lacks, or a graph that
    differs from TensorFlow by more than parity.LIMITS.
    """
    if not NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} is no name for a model: use letters, digits, - and _."
        )
    expected = parity.reference(model, parity.find_pictures(gallery))
    with tempfile.TemporaryDirectory(prefix="sfumato-export-") as folder:
        work = Path(folder)
        _report("Saving the networks for TensorFlow")
        saved_models = save_networks(model, work / "saved_models")
        bundle = work / "bundle"
        figures: dict[str, Any] = {}
        # First without quantisation: that tells a wrong graph from coarse weights.
        for step in dict.fromkeys(("float32", precision)):
            target = bundle if step == precision else work / step
            graphs = {graph: target / graph for graph in OUTPUTS}
            for graph, converted in graphs.items():
                _report(f"Converting the {graph} to {step}")
                convert_graph(graph, saved_models[graph], converted, step)
            _report(f"Comparing {step} graphs in TF.js with TensorFlow")
            outcome = parity.run_converted(graphs, expected)
            figures |= {"backend": "wasm", "tfjs": outcome.tfjs}
            figures[step] = parity.errors(expected, outcome)
            _report(f"  {_figures(figures[step])}")
            if missed := parity.misses(figures[step], step):
                place = parity.first_divergence(saved_models, graphs, expected, step)
                raise ExportError(
                    f"The {step} graphs do not match TensorFlow "
                    f"({'; '.join(missed)}): {place}."
                )
        model.save(bundle)
        manifest = _manifest(model, name, precision, bundle, figures)
        (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for graph, entry in manifest["graphs"].items():
            listed = ", ".join(f"{op} {count}" for op, count in entry["ops"].items())
            _report(f"{graph}: {entry['bytes'] / 1e3:.0f} kB; {listed}")
        _report(f"Publishing {name} in {models}")
        _install(bundle, models, name)
    _report(f"Done: {manifest['download_bytes'] / 1e6:.2f} MB to download")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="convert.py", description="Publish a trained model for the browser."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a trained model")
    parser.add_argument("--name", required=True, help="what to publish it as")
    parser.add_argument(
        "--quantize",
        choices=("none", *PRECISIONS[1:]),
        default="float16",
        help="type of the downloaded weights (default: float16)",
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of the published models"
    )
    parser.add_argument("--data", help="for the model card: what it was trained on")
    parser.add_argument("--licence", help="for the model card: the weights' licence")
    options = parser.parse_args(arguments)
    precision = "float32" if options.quantize == "none" else options.quantize
    try:
        model = StyleModel.load(options.checkpoint)
        for entry in ("data", "licence"):
            if (text := getattr(options, entry)) is not None:
                model.manifest[entry] = text
        publish(model, options.name, precision, options.models)
    except (ExportError, BundleError, OSError) as error:
        print(f"Nothing was published. {error}", file=sys.stderr)
        return 1
    return 0


def _manifest(
    model: StyleModel, name: str, precision: str, bundle: Path, figures: dict[str, Any]
) -> dict[str, Any]:
    graphs: dict[str, dict[str, Any]] = {}
    for graph, network in inference_networks(model).items():
        folder = bundle / graph
        graphs[graph] = {
            "model": f"{graph}/model.json",
            "inputs": {
                tensor.name: [1, *(side or -1 for side in tensor.shape[1:])]
                for tensor in network.inputs
            },
            "output": OUTPUTS[graph],
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            "ops": ops(folder),
        }
    files: list[dict[str, Any]] = [
        {
            "path": path.relative_to(bundle).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path != bundle / MANIFEST
    ]
    digest = hashlib.sha256("".join(file["sha256"] for file in files).encode())
    return model.manifest | {
        "name": name,
        "version": digest.hexdigest()[:12],
        "created": datetime.now(UTC).date().isoformat(),
        "precision": precision,
        "graphs": graphs,
        "files": files,
        "download_bytes": sum(entry["bytes"] for entry in graphs.values()),
        "parity": figures,
    }


def _install(bundle: Path, models: Path, name: str) -> None:
    """Puts a finished bundle in place and lists it."""
    models.mkdir(parents=True, exist_ok=True)
    partial = models / f".{name}.partial"
    with _locked(models):
        # What an interrupted conversion may have left.
        shutil.rmtree(partial, ignore_errors=True)
        try:
            shutil.copytree(bundle, partial)
            _put(partial, models / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _write_index(models, name)


def _put(new: Path, target: Path) -> None:
    """Renames `new` to `target`; a folder already there changes places with it."""
    if not target.exists():
        new.rename(target)
        return
    at_cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(target), exchange):
        code = ctypes.get_errno()
        raise ExportError(f"{target} cannot be replaced: {os.strerror(code)}.")


def _write_index(models: Path, name: str) -> None:
    """Lists every bundle; the default stays while it exists."""
    index = models / INDEX
    names = sorted(
        path.parent.name
        for path in models.glob(f"*/{MANIFEST}")
        if NAME.fullmatch(path.parent.name)
    )
    default = json.loads(index.read_text())["default"] if index.exists() else name
    new = models / f".{INDEX}.partial"
    new.write_text(
        json.dumps(
            {"default": default if default in names else name, "models": names},
            indent=1,
        )
        + "\n"
    )
    new.replace(index)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps two conversions from writing one index."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _figures(measured: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{kind} max {value['max']:.2g}, mean {value['mean']:.2g}"
        for kind, value in measured.items()
    )


def _report(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
