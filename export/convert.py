"""Publishes trained models for the browser: python export/convert.py --help

The graphs are checked before anything is published; what fails a check leaves
the models folder as it was. See export/parity.py for the limits.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export import parity, published
from export.graphs import (
    OUTPUTS,
    PRECISIONS,
    ExportError,
    convert_graph,
    inference_networks,
    ops,
    save_networks,
)
from export.site import write_site
from sfumato.model import MANIFEST, BundleError, StyleModel

MODELS = parity.REPOSITORY / "web/public/models"
GALLERY = parity.REPOSITORY / "web/public/gallery"


def publish(
    model: StyleModel,
    name: str,
    precision: str = "float16",
    models: Path = MODELS,
    gallery: Path = GALLERY,
    *,
    variants: Sequence[str] = (),
) -> dict[str, Any]:
    """Converts, checks and publishes `model` as models/name; returns its manifest.

    precision: of the weights that the browser downloads, one of PRECISIONS;
    variants: further ones, of which the page takes the smallest on a slow connection.
    An earlier bundle of that name is replaced in one step. ExportError, with nothing
    published, for a bad name, a folder of models with a bundle of another format, an
    op that the page or a browser backend lacks, or a graph that differs from
    TensorFlow by more than parity.LIMITS.
    """
    published.check_name(name)
    if models.is_dir():
        # Told before the minutes of work, not after.
        published.read_index(models, {name: {}})
    variants = [other for other in dict.fromkeys(variants) if other != precision]
    expected = parity.reference(model, parity.find_pictures(gallery))
    with tempfile.TemporaryDirectory(prefix="sfumato-export-") as folder:
        work = Path(folder)
        _report("Saving the networks for TensorFlow")
        saved_models = save_networks(model, work / "saved_models")
        bundle = work / "bundle"
        figures: dict[str, Any] = {}
        # First without quantisation: that tells a wrong graph from coarse weights.
        for step in dict.fromkeys(("float32", precision, *variants)):
            if step == precision:
                target = bundle
            else:
                target = (bundle if step in variants else work) / step
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
        manifest = _manifest(model, name, precision, variants, bundle, figures)
        (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for graph, entry in manifest["graphs"].items():
            listed = ", ".join(f"{op} {count}" for op, count in entry["ops"].items())
            _report(f"{graph}: {entry['bytes'] / 1e3:.0f} kB; {listed}")
        _report(f"Publishing {name} in {models}")
        published.install(bundle, models, name)
    sizes = (
        f"{one['download_bytes'] / 1e6:.2f} MB to download in {one['precision']}"
        for one in (manifest, *manifest["variants"])
    )
    _report(f"Done: {', '.join(sizes)}")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="convert.py",
        description="Publish trained models for the browser, side by side.",
        epilog="One of CHECKPOINT, --rename, --remove, --default and --site is needed.",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        metavar="CHECKPOINT",
        help="folder of a trained model, to publish it",
    )
    action.add_argument(
        "--rename", nargs=2, metavar=("OLD", "NEW"), help="give a model another name"
    )
    action.add_argument("--remove", metavar="NAME", help="delete a model")
    action.add_argument(
        "--default", metavar="NAME", help="the model that the page opens with"
    )
    action.add_argument(
        "--site",
        type=Path,
        metavar="DIR",
        help="write the page, models and gallery for any host of static files",
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of the published models"
    )
    card = parser.add_argument_group("with CHECKPOINT")
    card.add_argument("--name", help="what to publish it as (needed)")
    card.add_argument(
        "--quantize",
        choices=("none", *PRECISIONS[1:]),
        action="append",
        help="type of the downloaded weights (default: float16); given again, a "
        "further one, of which the page takes the smallest on a slow connection",
    )
    card.add_argument("--title", help="what people read for the name")
    card.add_argument("--description", help="what it is good at, in a sentence")
    card.add_argument("--data", help="for the model card: what it was trained on")
    card.add_argument("--licence", help="for the model card: the weights' licence")
    site = parser.add_argument_group("with --site")
    site.add_argument(
        "--include",
        action="append",
        metavar="NAME",
        help="a model that the site has, again for each further one; it opens with "
        "the first (default: all models)",
    )
    options = parser.parse_args(arguments)
    if options.checkpoint is not None and options.name is None:
        parser.error("--name is needed: what to publish CHECKPOINT as")
    entries = ("title", "description", "data", "licence")
    for group, owner, names in (
        (options.checkpoint, "CHECKPOINT", ("name", "quantize", *entries)),
        (options.site, "--site", ("include",)),
    ):
        for name in names:
            if group is None and getattr(options, name) is not None:
                parser.error(f"--{name} goes with {owner} only")
    models = options.models
    try:
        if options.checkpoint is not None:
            model = StyleModel.load(options.checkpoint)
            for entry in entries:
                if (text := getattr(options, entry)) is not None:
                    model.manifest[entry] = text
            precision, *variants = [
                "float32" if precision == "none" else precision
                for precision in options.quantize or ("float16",)
            ]
            publish(model, options.name, precision, models, variants=variants)
        elif options.rename is not None:
            published.rename(models, *options.rename)
            _report("{} is {} now.".format(*options.rename))
        elif options.remove is not None:
            published.remove(models, options.remove)
            _report(f"{options.remove} is removed.")
        elif options.default is not None:
            published.make_default(models, options.default)
            _report(f"The page opens with {options.default} now.")
        else:
            listed = write_site(options.site, models, GALLERY, options.include or ())
            _report(f"Done: {options.site} has the page with {', '.join(listed)}.")
    except (ExportError, BundleError, OSError) as error:
        outcome = "published" if options.checkpoint else "changed"
        print(f"Nothing was {outcome}. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def _manifest(
    model: StyleModel,
    name: str,
    precision: str,
    variants: Sequence[str],
    bundle: Path,
    figures: dict[str, Any],
) -> dict[str, Any]:
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
    return (
        model.manifest
        | {
            "name": name,
            "version": digest.hexdigest()[:12],
            "created": datetime.now(UTC).date().isoformat(),
        }
        | _downloads(model, bundle, "", precision)
        | {
            "variants": [
                _downloads(model, bundle, f"{variant}/", variant)
                for variant in variants
            ],
            "files": files,
            "parity": figures,
        }
    )


def _downloads(
    model: StyleModel, bundle: Path, place: str, precision: str
) -> dict[str, Any]:
    """What the manifest says of the graphs in one precision."""
    graphs: dict[str, dict[str, Any]] = {}
    for graph, network in inference_networks(model).items():
        folder = bundle / place / graph
        graphs[graph] = {
            "model": f"{place}{graph}/model.json",
            "inputs": {
                tensor.name: [1, *(side or -1 for side in tensor.shape[1:])]
                for tensor in network.inputs
            },
            "output": OUTPUTS[graph],
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            "ops": ops(folder),
        }
    return {
        "precision": precision,
        "graphs": graphs,
        "download_bytes": sum(entry["bytes"] for entry in graphs.values()),
    }


def _figures(measured: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{kind} max {value['max']:.2g}, mean {value['mean']:.2g}"
        for kind, value in measured.items()
    )


def _report(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
