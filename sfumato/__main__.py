"""Command line: `python -m sfumato stylize` and `python -m sfumato embed`."""

import argparse
import json
import sys
from pathlib import Path

from sfumato.images import ImageError, decode, encode, resize

MODELS = Path(__file__).parent.parent / "web" / "public" / "models"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def weighted_path(text: str) -> tuple[Path, float]:
    """`a.jpg=0.7` to (a.jpg, 0.7); without a weight, 1."""
    path, separator, weight = text.rpartition("=")
    if not separator:
        return Path(text), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"the weight of {path} must be a number, not {weight!r}"
        ) from None


def picture_path(text: str) -> Path:
    """A path whose ending names a format that can be written."""
    path = Path(text)
    if path.suffix.lower() not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text} must end in one of {', '.join(FORMATS)}"
        )
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("sfumato", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--model",
        metavar="NAME|DIR",
        help="a published model's name or a model folder (default: the page's)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    stylize = commands.add_parser(
        "stylize", parents=[common], help="repaint a photo in one or more styles"
    )
    stylize.add_argument("photo", type=Path)
    stylize.add_argument(
        "--style",
        type=weighted_path,
        action="append",
        required=True,
        metavar="IMAGE[=WEIGHT]",
        help="give it once for each style; weights are normalised",
    )
    stylize.add_argument("--strength", type=float, default=1.0)
    stylize.add_argument(
        "--size", type=int, help="shorter side in pixels (default: the photo's)"
    )
    stylize.add_argument("-o", "--output", type=picture_path, required=True)
    embed = commands.add_parser(
        "embed", parents=[common], help="print an image's style embedding as JSON"
    )
    embed.add_argument("image", type=Path)
    embed.add_argument(
        "--size",
        type=int,
        help="shorter side in pixels of what is to be painted (default: 256)",
    )
    options = parser.parse_args(arguments)

    # After the arguments are read, so that --help does not wait for TensorFlow.
    from sfumato.model import StyleModel, mix

    try:
        model = StyleModel.load(model_folder(options.model))
        least = model.manifest["min_size"]
        if options.size is not None and options.size < least:
            raise ImageError(
                f"--size {options.size} is too small; use at least {least}."
            )
        if options.command == "embed":
            embedding = model.embed(options.image, size=options.size)
            print(json.dumps(embedding.tolist()))
            return 0
        content = decode(options.photo)
        if options.size is not None:
            content = resize(content, options.size)
        size = min(content.shape[:2])
        embedding = mix(
            [(model.embed(path, size=size), weight) for path, weight in options.style]
        )
        picture = model.stylize(content, embedding, options.strength)
        options.output.write_bytes(
            encode(picture, FORMATS[options.output.suffix.lower()])
        )
    except (ValueError, OSError) as error:
        print(f"sfumato: {error}", file=sys.stderr)
        return 1
    return 0


def model_folder(name: str | None) -> Path:
    """A published model by its name, a folder as it is, or the page's default."""
    if name is None:
        name = json.loads((MODELS / "index.json").read_text())["default"]
    folder = MODELS / name
    return folder if folder.is_dir() else Path(name)


if __name__ == "__main__":
    sys.exit(main())
