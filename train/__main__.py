"""Command line: `python -m train fit`, `evaluate`, `mixing`, `curves`, `sheet` and
`compare`."""

import argparse
import csv
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.__main__ import FORMATS, model_folder, picture_path

if TYPE_CHECKING:
    import numpy as np

    from train.evaluate import Stylize

# What a shell reports of a command that Ctrl-C ended.
STOPPED = 130


def positive(text: str) -> int:
    """A number of pixels or pairs."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"must be a whole number above 0, not {text!r}"
        )
    return number


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
        help="paint every photo in every style by several methods, in one picture",
    )
    options = parser.parse_args(arguments)
    if options.command == "evaluate" and not (
        options.bundle or options.tflite or options.images
    ):
        parser.error("evaluate needs at least one --bundle, --tflite or --images")
    if options.command == "compare" and not (options.bundle or options.tflite):
        parser.error("compare needs at least one --bundle or --tflite")

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


def _evaluate(options: argparse.Namespace) -> int:
    from rich.progress import track

    from sfumato.model import StyleModel
    from train import evaluate

    pairs = evaluate.read_pairs(options.pairs)
    bundles = {name: StyleModel.load(model_folder(name)) for name in options.bundle}
    methods = {name: evaluate.by_model(model) for name, model in bundles.items()}
    methods |= {str(path): evaluate.by_tflite(path) for path in options.tflite}
    methods |= {str(path): evaluate.by_images(path) for path in options.images}
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
        for name, model in bundles.items():
            model.manifest.setdefault("scores", {})[str(options.size)] = rows[name] | {
                "pairs": len(pairs)
            }
            model.save_manifest(model_folder(name))
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
    _write(sheet(model, list(photos.values()), list(styles.values())), options.output)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from train.sheet import comparison

    _write(comparison(_methods(options), *_pictures(options)), options.output)
    return 0


def _methods(options: argparse.Namespace) -> "dict[str, Stylize]":
    """What --bundle and --tflite name, by the last part of their names."""
    from sfumato.model import StyleModel
    from train import evaluate

    return {
        Path(name).name: evaluate.by_model(StyleModel.load(model_folder(name)))
        for name in options.bundle
    } | {path.name: evaluate.by_tflite(path) for path in options.tflite}


def _pictures(options: argparse.Namespace) -> "list[dict[str, np.ndarray]]":
    """The photos and the styles, squares of one size, by their file names."""
    from train.evaluate import square

    return [
        {path.name: square(path, options.size) for path in paths}
        for paths in (options.content, options.style)
    ]


def _write(picture: "np.ndarray", path: Path) -> None:
    from sfumato.images import encode

    path.write_bytes(encode(picture, FORMATS[path.suffix.lower()]))


RUN = {
    "fit": _fit,
    "evaluate": _evaluate,
    "mixing": _mixing,
    "curves": _curves,
    "sheet": _sheet,
    "compare": _compare,
}

if __name__ == "__main__":
    sys.exit(main())
