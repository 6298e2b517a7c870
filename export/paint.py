"""Paints pairs of pictures by a published model's own graphs, as the page does, in
each precision that it has; `python -m train evaluate --images` scores the results."""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

from export.graphs import OUTPUTS, ExportError
from export.parity import paint_pairs
from sfumato.__main__ import model_folder
from sfumato.images import ImageError, center_crop, decode, encode, resize
from sfumato.model import BundleError, StyleModel

# Pairs that Node is given at once.
BATCH = 10


def paint(
    bundle: Path, pairs: list[tuple[str, str]], root: Path, size: int, out: Path
) -> Iterable[tuple[str, int]]:
    """Writes OUT/PRECISION/PHOTO_PAINTING.png for each pair of a photo in
    ROOT/content and a painting in ROOT/style, both scaled to `size` pixels and cut
    to a square as `train evaluate` does; yields a precision and how many pictures of
    it are done, time and again. ExportError where the model is not published, the
    size does not suit it, or TF.js cannot run the graphs.
    """
    model = StyleModel.load(bundle)
    manifest = model.manifest
    if "graphs" not in manifest:
        raise ExportError(f"{bundle} has no graphs: publish it by export/convert.py.")
    multiple, least = manifest["size_multiple"], manifest["min_size"]
    if size % multiple or size < least:
        raise ExportError(
            f"--size {size} does not suit the graphs: they take multiples of "
            f"{multiple} from {least} on."
        )
    for entry in (manifest, *manifest["variants"]):
        graphs = {
            name: (bundle / entry["graphs"][name]["model"]).parent for name in OUTPUTS
        }
        folder = out / entry["precision"]
        folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, len(pairs), BATCH):
            batch = pairs[first : first + BATCH]
            images = [
                [
                    center_crop(resize(decode(root / kind / name), size), size)
                    for kind, name in zip(("content", "style"), pair, strict=True)
                ]
                for pair in batch
            ]
            seen = [[photo, model.seen(style, size=size)] for photo, style in images]
            pictures = paint_pairs(graphs, seen)
            for pair, picture in zip(batch, pictures, strict=True):
                name = "_".join(Path(part).stem for part in pair)
                (folder / f"{name}.png").write_bytes(encode(picture))
            yield entry["precision"], first + len(batch)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="paint.py", description=__doc__)
    parser.add_argument(
        "bundle", type=model_folder, metavar="NAME|DIR", help="a published model"
    )
    parser.add_argument(
        "--pairs", type=Path, required=True, help="CSV with columns content and style"
    )
    parser.add_argument(
        "--root", type=Path, required=True, help="folder with content/ and style/"
    )
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures")
    options = parser.parse_args(arguments)
    try:
        with options.pairs.open(newline="") as file:
            reader = csv.DictReader(file)
            if not {"content", "style"} <= set(reader.fieldnames or ()):
                raise ExportError(
                    f"{options.pairs} needs the columns content and style; "
                    f"it has {reader.fieldnames}."
                )
            pairs = [(row["content"], row["style"]) for row in reader]
        for precision, done in paint(
            options.bundle, pairs, options.root, options.size, options.out
        ):
            print(f"{precision}: {done} of {len(pairs)} pairs", flush=True)
    except (ExportError, BundleError, ImageError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what is painted stays.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
