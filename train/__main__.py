"""Command line: `python -m train fit`, `finetune`, `distill`, `refine`, `average`,
`truncate`, `evaluate`, `mixing`, `curves`, `sheet`, `compare`, and the commands of
train/atelier.py."""

import argparse
import csv
import dataclasses
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.__main__ import model_folder, picture_path, weighted_path
from train import atelier
from train.atelier import STOPPED, positive, write

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from sfumato.model import StyleModel
    from train.methods import Pair, Stylize


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    methods = argparse.ArgumentParser(add_help=False)
    methods.add_argument(
        "--bundle", action="append", default=[], metavar="NAME|DIR", help="our model"
    )
    methods.add_argument(
        "--tflite",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="folder with predict.tflite and transfer.tflite",
    )
    methods.add_argument(
        "--hub",
        action="append",
        default=[],
        metavar="HANDLE|DIR",
        help="a style transfer network of TensorFlow Hub, or its SavedModel's folder",
    )
    methods.add_argument(
        "--optimize",
        action="append",
        default=[],
        metavar="RECIPE",
        help="a name in train/recipes/optimize, or a TOML file",
    )
    fit = commands.add_parser("fit", help="train a predictor and a transformer")
    fit.add_argument("--content", type=Path, required=True, help="folder of photos")
    fit.add_argument("--style", type=Path, required=True, help="folder of paintings")
    fit.add_argument(
        "--recipe", required=True, help="a name in train/recipes, or a TOML file"
    )
    fit.add_argument("--out", type=Path, required=True, help="folder for the run")
    fit.add_argument(
        "--resume", action="store_true", help="continue the run that OUT holds"
    )
    fit.add_argument(
        "--start",
        metavar="NAME|DIR",
        help="a model of the same architecture to start from",
    )
    shorter = argparse.ArgumentParser(add_help=False)
    shorter.add_argument("--out", type=Path, required=True, help="folder for the run")
    shorter.add_argument(
        "--resume", action="store_true", help="continue the run that OUT holds"
    )
    shorter.add_argument(
        "--steps", type=positive, help="instead of as many as the recipe has"
    )
    finetune = commands.add_parser(
        "finetune",
        parents=[shorter],
        help="adapt a model to pictures of your own, in minutes",
    )
    finetune.add_argument(
        "--bundle", metavar="NAME|DIR", help="the model to adapt (default: the page's)"
    )
    finetune.add_argument(
        "--style", type=Path, required=True, help="folder of your pictures"
    )
    finetune.add_argument(
        "--content", type=Path, help="folder of photos (default: the gallery's)"
    )
    finetune.add_argument("--recipe", default="finetune", help="as for fit")
    distill = commands.add_parser(
        "distill",
        parents=[shorter],
        help="teach a model of any width what another network paints",
    )
    distill.add_argument(
        "--teacher",
        required=True,
        metavar="NAME|DIR|HANDLE",
        help="our model, a folder with predict.tflite and transfer.tflite, or a style "
        "transfer network of TensorFlow Hub or its SavedModel's folder",
    )
    distill.add_argument("--content", type=Path, required=True, help="folder of photos")
    distill.add_argument(
        "--style", type=Path, required=True, help="folder of paintings"
    )
    distill.add_argument("--recipe", default="distill", help="as for fit")
    distill.add_argument(
        "--start",
        default="default",
        metavar="NAME|DIR",
        help="a model that knows how to read styles, to start from; default: default",
    )
    refine = commands.add_parser(
        "refine",
        parents=[shorter],
        help="train a model's predictor on, of many styles at little cost",
    )
    refine.add_argument(
        "--bundle", required=True, metavar="NAME|DIR", help="the model to train on"
    )
    refine.add_argument("--content", type=Path, required=True, help="folder of photos")
    refine.add_argument("--style", type=Path, required=True, help="folder of paintings")
    refine.add_argument(
        "--collected",
        type=Path,
        help="folder of looks at images, to keep or to add to (default: OUT/collected)",
    )
    refine.add_argument("--recipe", default="refine", help="as for fit")
    average = commands.add_parser(
        "average", help="the weighted mean of models that descend from one another"
    )
    average.add_argument(
        "--bundle",
        type=weighted_path,
        action="append",
        required=True,
        metavar="NAME|DIR[=WEIGHT]",
        help="our model; give it once for each; weights are normalised",
    )
    average.add_argument(
        "--out", type=Path, required=True, help="folder for the model, a new one"
    )
    truncate = commands.add_parser(
        "truncate", help="draw a model's embeddings towards their mean"
    )
    truncate.add_argument(
        "--bundle", required=True, metavar="NAME|DIR", help="our model"
    )
    truncate.add_argument(
        "--style", type=Path, required=True, help="folder of paintings, for the mean"
    )
    truncate.add_argument(
        "--psi",
        type=_along,
        nargs="+",
        required=True,
        metavar="PSI[xAXES]",
        help="what is left of their distance from it; 1: all. Several: along so many "
        "of their principal axes each, the last one along the rest",
    )
    truncate.add_argument(
        "--out", type=Path, required=True, help="folder for the model, a new one"
    )
    evaluate = commands.add_parser(
        "evaluate",
        parents=[methods],
        help="score models, peers or ready pictures on pairs of images",
    )
    evaluate.add_argument(
        "--pairs", type=Path, required=True, help="CSV with columns content and style"
    )
    evaluate.add_argument(
        "--root", type=Path, required=True, help="folder with content/ and style/"
    )
    evaluate.add_argument(
        "--images",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="folder with PHOTO_PAINTING.png for each pair",
    )
    evaluate.add_argument("--size", type=positive, default=256, help="pixels a side")
    evaluate.add_argument("--csv", type=Path, help="write every pair's scores here")
    evaluate.add_argument(
        "--gatys",
        type=positive,
        metavar="N",
        help="instead, say for N of the pairs how many iterations of L-BFGS on the "
        "picture itself reach the loss of each --bundle",
    )
    evaluate.add_argument(
        "--save",
        action="store_true",
        help="write the scores into the manifest of each --bundle",
    )
    mixing = commands.add_parser(
        "mixing", help="measure how smoothly styles mix and strength dials"
    )
    mixing.add_argument(
        "--pairs", type=Path, required=True, help="CSV with columns content and style"
    )
    mixing.add_argument(
        "--root", type=Path, required=True, help="folder with content/ and style/"
    )
    mixing.add_argument("--bundle", required=True, metavar="NAME|DIR", help="our model")
    mixing.add_argument(
        "--count", type=positive, default=20, help="pairs to walk, evenly from the CSV"
    )
    curves = commands.add_parser(
        "curves", help="draw a run's loss terms, and its scores where they are given"
    )
    curves.add_argument("run", type=Path, nargs="+", help="folders that fit wrote")
    curves.add_argument(
        "--scores",
        type=Path,
        help="what `evaluate --csv` wrote of models in RUN/history, and of peers",
    )
    curves.add_argument("-o", "--output", type=picture_path, required=True)
    pictures = argparse.ArgumentParser(add_help=False)
    pictures.add_argument("--content", type=Path, nargs="+", required=True)
    pictures.add_argument("--style", type=Path, nargs="+", required=True)
    pictures.add_argument("--size", type=positive, default=256, help="pixels a side")
    pictures.add_argument("-o", "--output", type=picture_path, required=True)
    sheet = commands.add_parser(
        "sheet",
        parents=[pictures],
        help="paint every photo in every style, in one picture",
    )
    sheet.add_argument("--bundle", required=True, metavar="NAME|DIR", help="our model")
    commands.add_parser(
        "compare",
        parents=[pictures, methods],
        help="paint every photo in every style by several methods, in one picture, "
        "and print their distances",
    )
    atelier.add_commands(commands)
    options = parser.parse_args(arguments)
    if options.command == "evaluate" and options.gatys and not options.bundle:
        parser.error("evaluate --gatys needs at least one --bundle")
    if options.command in ("compare", "evaluate"):
        kinds = ["bundle", "tflite", "hub", "optimize"]
        kinds += ["images"] if options.command == "evaluate" else []
        if not any(getattr(options, kind) for kind in kinds):
            listed = ", ".join(f"--{kind}" for kind in kinds)
            parser.error(f"{options.command} needs at least one of {listed}")

    # After the arguments are read, so that --help does not wait for TensorFlow.
    from train.run import TrainingError
    from train.vgg import WeightsError

    try:
        return RUN[options.command](options)
    except (ValueError, OSError, TrainingError, WeightsError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1


def _fit(options: argparse.Namespace) -> int:
    from train.fit import fit
    from train.recipe import Recipe

    done = fit(
        Recipe.load(options.recipe),
        options.content,
        options.style,
        options.out,
        options.resume,
        None if options.start is None else model_folder(options.start),
    )
    return 0 if done else STOPPED


def _finetune(options: argparse.Namespace) -> int:
    from train.finetune import finetune

    done = finetune(
        options.recipe,
        model_folder(options.bundle),
        options.style,
        options.content,
        options.out,
        options.resume,
        options.steps,
    )
    return 0 if done else STOPPED


def _distill(options: argparse.Namespace) -> int:
    from train.distill import Imitation, distill
    from train.recipe import Phase, Recipe

    done = distill(
        Recipe.load(options.recipe, Imitation, phase=Phase).lasting(options.steps),
        options.teacher,
        options.content,
        options.style,
        model_folder(options.start),
        options.out,
        options.resume,
    )
    return 0 if done else STOPPED


def _refine(options: argparse.Namespace) -> int:
    from train.refine import refine

    done = refine(
        options.recipe,
        model_folder(options.bundle),
        options.content,
        options.style,
        options.out,
        options.collected,
        options.resume,
        options.steps,
    )
    return 0 if done else STOPPED


def _average(options: argparse.Namespace) -> int:
    from train.average import average

    parts = [(model_folder(str(name)), weight) for name, weight in options.bundle]
    return _made(lambda: average(parts), options.out)


def _truncate(options: argparse.Namespace) -> int:
    from rich.progress import track

    from train.data import ImageFolder
    from train.truncate import STYLES, truncate

    paintings = ImageFolder(options.style)
    paintings.report_skipped()
    numbers = range(min(STYLES, len(paintings.paths)))
    styles = (paintings.draw(number, seed=0) for number in track(numbers, "embedding"))
    folder = model_folder(options.bundle)
    psi = list(itertools.chain(*options.psi))
    return _made(lambda: truncate(folder, styles, psi), options.out)


def _along(text: str) -> list[float]:
    """`0.8` to [0.8] and `0.8x3` to [0.8, 0.8, 0.8]."""
    psi, times, axes = text.partition("x")
    try:
        return [float(psi)] * (positive(axes) if times else 1)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"must be a number such as 0.8, or one and a count of axes such as 0.8x3, "
            f"not {text!r}"
        ) from None


def _made(model: "Callable[[], StyleModel]", out: Path) -> int:
    if out.exists():
        raise ValueError(f"{out} exists; name a new folder for the model.")
    model().save(out)
    print(f"Done: {out} is ready for export/convert.py")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from rich.progress import track

    from sfumato.model import StyleModel
    from train import evaluate
    from train.methods import by_images

    pairs = evaluate.read_pairs(options.pairs)
    if options.gatys:
        return _limit(options, pairs)
    methods = _methods(options) | {
        str(path): by_images(path) for path in options.images
    }
    rows, scores = {}, []
    for name, stylize in methods.items():
        own = list(
            track(
                evaluate.evaluate(pairs, options.root, stylize, options.size),
                description=name,
                total=len(pairs),
            )
        )
        rows[name] = evaluate.summarise(own)
        scores += [{"method": name} | dataclasses.asdict(score) for score in own]
    print(evaluate.table(rows))
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, scores[0].keys())
            writer.writeheader()
            writer.writerows(scores)
    if options.save:
        for name in options.bundle:
            model = StyleModel.load(model_folder(name))
            model.manifest.setdefault("scores", {})[str(options.size)] = rows[name] | {
                "pairs": len(pairs)
            }
            model.save_manifest(model_folder(name))
    return 0


def _limit(options: argparse.Namespace, pairs: "list[Pair]") -> int:
    from rich.progress import track

    from sfumato.model import StyleModel
    from train.limit import limit, table

    chosen = pairs[:: max(1, len(pairs) // options.gatys)][: options.gatys]
    for name in options.bundle:
        model = StyleModel.load(model_folder(name))
        found = limit(model, chosen, options.root, options.size)
        print(table(list(track(found, name, total=len(chosen)))))
    return 0


def _mixing(options: argparse.Namespace) -> int:
    from rich.progress import track

    from sfumato.model import StyleModel
    from train.evaluate import read_pairs
    from train.mixing import table, walks

    pairs = read_pairs(options.pairs)
    chosen = pairs[:: max(1, len(pairs) // options.count)][: options.count]
    model = StyleModel.load(model_folder(options.bundle))
    found = track(walks(model, chosen, options.root), options.bundle, total=len(chosen))
    print(table(list(found)))
    return 0


def _curves(options: argparse.Namespace) -> int:
    from train.curves import curves

    options.output.write_bytes(curves(options.run, options.scores))
    return 0


def _sheet(options: argparse.Namespace) -> int:
    from sfumato.model import StyleModel
    from train.sheet import sheet

    photos, styles = _pictures(options)
    model = StyleModel.load(model_folder(options.bundle))
    write(sheet(model, list(photos.values()), list(styles.values())), options.output)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from train.sheet import comparison

    methods = {
        _label(name): _printed(_label(name), method)
        for name, method in _methods(options).items()
    }
    write(comparison(methods, *_pictures(options)), options.output)
    return 0


def _printed(name: str, method: "Stylize") -> "Stylize":
    """The method; it prints the distances of each picture that it makes."""
    from train.evaluate import distances

    def stylize(pair, photo, painting):
        picture = method(pair, photo, painting)
        content, style = distances(picture, photo, painting)
        print(
            f"{' in '.join(pair)} by {name}: content {content:.3f}, style {style:.3f}"
        )
        return picture

    return stylize


def _methods(options: argparse.Namespace) -> "dict[str, Stylize]":
    """What --bundle, --tflite, --hub and --optimize name."""
    from sfumato.model import StyleModel
    from train.methods import by_hub, by_model, by_tflite
    from train.optimize import Method, by_optimisation

    return (
        {name: by_model(StyleModel.load(model_folder(name))) for name in options.bundle}
        | {str(path): by_tflite(path) for path in options.tflite}
        | {handle: by_hub(handle) for handle in options.hub}
        | {name: by_optimisation(Method.load(name)) for name in options.optimize}
    )


def _label(name: str) -> str:
    """The last part of a name; of a Hub handle, the one before its version, of a
    run's model, the run's."""
    from train.fit import MODEL

    path = Path(name)
    unspoken = path.name.isdigit() or path.name == MODEL
    return path.parent.name if unspoken else path.name


def _pictures(options: argparse.Namespace) -> "list[dict[str, np.ndarray]]":
    """The photos and the styles, squares of one size, by their file names."""
    from train.evaluate import square

    return [
        {path.name: square(path, options.size) for path in paths}
        for paths in (options.content, options.style)
    ]


RUN = {
    "fit": _fit,
    "finetune": _finetune,
    "distill": _distill,
    "refine": _refine,
    "average": _average,
    "truncate": _truncate,
    "evaluate": _evaluate,
    "mixing": _mixing,
    "curves": _curves,
    "sheet": _sheet,
    "compare": _compare,
} | atelier.RUN

# TensorFlow has oneDNN's kernels in every build, but takes them of itself only where a
# processor has instructions made for networks. Without these, too, training is faster
# by them; `evaluate`, whose VGG-16 looks at one picture at a time, is slower.
TRAINING = {"fit", "finetune", "distill", "refine", "single"}

if __name__ == "__main__":
    if TRAINING.intersection(sys.argv[1:2]):
        # TensorFlow reads it when it is imported.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.exit(main())
