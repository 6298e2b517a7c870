"""The commands of the atelier: optimize, texture, reconstruct, tradeoff, single and
bench."""

import argparse
import dataclasses
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.__main__ import FORMATS, model_folder, picture_path, weighted_path

if TYPE_CHECKING:
    import numpy as np

    from train.descent import Outcome, Step
    from train.optimize import Method, State

# What a shell reports of a command that Ctrl-C ended.
STOPPED = 130
# Iterations between two previews of a result.
PREVIEW = 25


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"must be a whole number above 0, not {text!r}"
        )
    return number


def weighted_layer(text: str) -> tuple[str, float]:
    """`relu4_2=0.5` to ("relu4_2", 0.5); without a weight, 1."""
    layer, weight = weighted_path(text)
    return str(layer), weight


def shape(text: str) -> tuple[int, int]:
    """`640x480`, width by height, to (480, 640); one number is a square's side."""
    match = re.fullmatch(r"(\d{2,5})(?:x(\d{2,5}))?", text)
    if match is None or min(int(match[1]), int(match[2] or match[1])) < 32:
        raise argparse.ArgumentTypeError(
            f"must be a size of 32 pixels or more such as 512 or 640x480, not {text!r}"
        )
    return int(match[2] or match[1]), int(match[1])


def add_commands(commands: Any) -> None:
    """Adds the atelier's commands to those of an argument parser."""
    running = argparse.ArgumentParser(add_help=False)
    running.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    running.add_argument(
        "--preview",
        type=positive,
        default=PREVIEW,
        metavar="N",
        help=f"write OUTPUT and what --resume needs every N iterations ({PREVIEW})",
    )
    running.add_argument(
        "--resume", action="store_true", help="continue what was stopped"
    )
    running.add_argument("-o", "--output", type=picture_path, required=True)
    method = argparse.ArgumentParser(add_help=False)
    method.add_argument(
        "--recipe",
        default="balanced",
        help="a name in train/recipes/optimize, or a TOML file (default: balanced)",
    )
    for option, kind in (
        ("--network", str),
        ("--weights", str),
        ("--pooling", str),
        ("--loss", str),
        ("--optimizer", str),
        ("--precision", str),
        ("--content-weight", float),
        ("--style-weight", float),
        ("--total-variation", float),
        ("--learning-rate", float),
    ):
        method.add_argument(option, type=kind, help="instead of the recipe's")
    for option in ("--content-layer", "--style-layer"):
        method.add_argument(
            option,
            type=weighted_layer,
            action="append",
            metavar="LAYER[=WEIGHT]",
            help="instead of the recipe's; give it once for each layer",
        )
    method.add_argument(
        "--size",
        dest="sizes",
        type=positive,
        nargs="+",
        help="shorter sides in pixels, coarse to fine",
    )
    method.add_argument(
        "--iterations", type=positive, nargs="+", help="for each of the sizes"
    )

    optimize = commands.add_parser(
        "optimize",
        parents=[running, method],
        help="repaint a photo by optimising the picture itself",
    )
    optimize.add_argument("photo", type=Path)
    optimize.add_argument(
        "--style",
        type=weighted_path,
        action="append",
        required=True,
        metavar="IMAGE[=WEIGHT]",
        help="give it once for each style",
    )
    optimize.add_argument(
        "--start", help="photo, noise, or an image to begin with (see the recipe)"
    )
    optimize.add_argument(
        "--style-scale", type=float, default=1.0, help="styles next to the photo's size"
    )
    optimize.add_argument(
        "--keep-colours", action="store_true", help="the photo's colours stay"
    )

    texture = commands.add_parser(
        "texture", parents=[running], help="grow a texture like a picture's, from noise"
    )
    texture.add_argument("source", type=Path)
    texture.add_argument(
        "--size",
        type=shape,
        default=(256, 256),
        metavar="W[xH]",
        help="of the texture (default: 256)",
    )
    texture.add_argument(
        "--source-size",
        type=positive,
        default=256,
        help="the source's shorter side in pixels (default: 256)",
    )
    texture.add_argument(
        "--layers",
        type=int,
        choices=range(1, 6),
        default=4,
        help="how many layers are matched, from fine to coarse (default: 4)",
    )
    texture.add_argument("--seamless", action="store_true", help="it can be tiled")
    texture.add_argument(
        "--iterations", type=positive, nargs=2, help="at half the size and the whole"
    )

    reconstruct = commands.add_parser(
        "reconstruct",
        help="show what a network keeps of a picture: its content at layers, its "
        "style at the first layers",
    )
    reconstruct.add_argument("image", type=Path)
    reconstruct.add_argument(
        "--content", nargs="+", default=[], metavar="LAYER", help="such as relu4_2"
    )
    reconstruct.add_argument(
        "--style", nargs="+", type=int, choices=range(1, 6), default=[], metavar="N"
    )
    reconstruct.add_argument("--size", type=positive, default=256)
    reconstruct.add_argument("--seed", type=int, default=0, help="of the noise")
    reconstruct.add_argument("--iterations", type=positive)
    reconstruct.add_argument("-o", "--output", type=picture_path, required=True)

    tradeoff = commands.add_parser(
        "tradeoff",
        parents=[method],
        help="a photo in a style by several content and style weights, as one figure",
    )
    tradeoff.add_argument("photo", type=Path)
    tradeoff.add_argument("--style", type=Path, required=True)
    for option in ("--content-weights", "--style-weights"):
        tradeoff.add_argument(option, type=float, nargs="+", required=True)
    tradeoff.add_argument("-o", "--output", type=picture_path, required=True)

    single = commands.add_parser("single", help="train a network for one style")
    single.add_argument("--content", type=Path, required=True, help="folder of photos")
    single.add_argument("--style", type=Path, required=True, help="the style's picture")
    single.add_argument(
        "--recipe",
        default="single",
        help="a name in train/recipes, or a TOML file (default: single)",
    )
    single.add_argument("--out", type=Path, required=True, help="folder for the run")
    single.add_argument(
        "--resume", action="store_true", help="continue the run that OUT holds"
    )
    single.add_argument(
        "--start",
        metavar="NAME|DIR",
        help="a model with the recipe's transformer, to start from its rendering",
    )

    bench = commands.add_parser(
        "bench",
        parents=[method],
        help="time an iteration beside one pass through the network and back",
    )
    bench.add_argument(
        "--rounds", type=positive, default=20, help="iterations to time (default: 20)"
    )


def method_of(options: argparse.Namespace) -> "Method":
    """The recipe, with what the command line puts in its place."""
    from train.optimize import Method

    method = Method.load(options.recipe)
    given: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(Method)
        if (value := getattr(options, field.name, None)) is not None
    }
    for field in ("content", "style"):
        layers = getattr(options, f"{field}_layer")
        if layers:
            given[f"{field}_layers"] = dict(layers)
    for field in ("sizes", "iterations"):
        if field in given:
            given[field] = tuple(given[field])
    if given.get("start") not in (None, "photo", "noise"):
        del given["start"]
    return dataclasses.replace(method, **given)


class Watch:
    """A descent on the terminal: a bar with the loss, a line of terms, the best
    picture and its state at every `interval`, an end on Ctrl-C."""

    def __init__(
        self, save: Callable[["np.ndarray", int], None], interval: int, done: int
    ):
        from train.run import progress_bar

        self.save = save
        self.interval = interval
        self.done = done
        self.since = time.perf_counter()
        self.stop_training = False
        self.bar = progress_bar()
        self.task = self.bar.add_task("loss", total=None, completed=done, rate="")

    def __call__(self, step: "Step") -> bool:
        if step.iteration % self.interval == 0:
            self.bar.console.print(
                f"{step.iteration}  {described(step.loss, step.terms)}",
                highlight=False,
                soft_wrap=True,
            )
            self.save(step.best, step.iteration)
        elapsed = time.perf_counter() - self.since
        self.bar.update(
            self.task,
            total=step.of,
            completed=step.iteration,
            description=f"loss {step.loss:.4g}",
            rate=f"{elapsed / (step.iteration - self.done):.2f} s each",
        )
        return self.stop_training


def described(loss: float, terms: dict[str, float]) -> str:
    parts = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
    return f"loss {loss:.4g}:  {parts}"


def _descend(
    options: argparse.Namespace,
    description: dict[str, Any],
    run: "Callable[[Watch, State | None], Outcome]",
    finish: "Callable[[np.ndarray], np.ndarray]" = lambda picture: picture,
) -> int:
    """Runs a descent under a Watch, and keeps its best picture however it ends."""
    from sfumato.images import to_uint8
    from train.optimize import State
    from train.run import TrainingError, stop_on_signal

    # Beside the result: what --resume goes on from.
    path = options.output.with_name(f"{options.output.stem}.state.npz")
    state = State.load(path, description) if options.resume else None

    def save(image: "np.ndarray", done: int) -> None:
        write(finish(to_uint8(image)), options.output)
        State(image, done).save(path, description)

    watch = Watch(save, options.preview, state.iterations if state else 0)
    with watch.bar, stop_on_signal(watch):
        outcome = run(watch, state)
    if outcome.iterations == 0:
        raise TrainingError(
            "The loss is no number from the start: lower the weights or the rate."
        )
    save(outcome.image, outcome.iterations)
    seconds = time.perf_counter() - watch.since
    print(
        f"{described(outcome.loss, outcome.terms)}\n"
        f"{outcome.iterations} iterations, {outcome.evaluations} evaluations now, "
        f"{seconds:.0f} s: {options.output}"
    )
    if outcome.ended == "not finite":
        raise TrainingError(
            f"The loss was no number after iteration {outcome.iterations}; "
            f"{options.output} is the best picture before. Lower the weights or the "
            "learning rate."
        )
    if outcome.ended == "stopped":
        print("Stopped; the same command with --resume goes on.")
        return STOPPED
    path.unlink()
    return 0


def _optimize(options: argparse.Namespace) -> int:
    from sfumato.images import decode
    from train.optimize import STARTS, keep_colours, optimize

    method = method_of(options)
    photo = decode(options.photo)
    styles = [(decode(path), weight) for path, weight in options.style]
    start = None
    if options.start is not None and options.start not in STARTS:
        start = decode(Path(options.start))
    if not 0 < options.style_scale <= 4:
        raise ValueError(
            f"--style-scale must be above 0 and at most 4, not {options.style_scale:g}."
        )
    description = dataclasses.asdict(method) | {
        "photo": _digest(photo),
        "styles": [[_digest(style), weight] for style, weight in styles],
        "begun with": None if start is None else _digest(start),
        "seed": options.seed,
        "style scale": options.style_scale,
    }
    return _descend(
        options,
        description,
        lambda watch, state: optimize(
            method,
            photo,
            styles,
            start,
            options.seed,
            options.style_scale,
            watch,
            state,
        ),
        (lambda picture: keep_colours(picture, photo))
        if options.keep_colours
        else lambda picture: picture,
    )


def _texture(options: argparse.Namespace) -> int:
    from sfumato.images import decode, resize
    from train.texture import ITERATIONS, texture

    source = resize(decode(options.source), options.source_size)
    iterations = tuple(options.iterations or ITERATIONS)
    description = {
        "source": _digest(source),
        "size": options.size,
        "layers": options.layers,
        "seed": options.seed,
        "seamless": options.seamless,
        "iterations": iterations,
    }
    return _descend(
        options,
        description,
        lambda watch, state: texture(
            source,
            options.size,
            options.layers,
            options.seed,
            options.seamless,
            iterations,
            watch,
            state,
        ),
    )


def _digest(image: "np.ndarray") -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _reconstruct(options: argparse.Namespace) -> int:
    import numpy as np

    from sfumato.images import to_uint8
    from train.evaluate import VGG_STYLE, grams, square, style_distances
    from train.reconstruct import ITERATIONS, from_content, from_style, psnr
    from train.run import stop_on_signal
    from train.sheet import labels
    from train.vgg import build_vgg16

    if not options.content and not options.style:
        raise ValueError("reconstruct needs --content LAYER … or --style N …")
    image = square(options.image, options.size)
    iterations = options.iterations or ITERATIONS
    vgg = build_vgg16(VGG_STYLE)
    target = grams(vgg, image, VGG_STYLE)
    captions, pictures = ["original"], [image]
    wanted: list[tuple[Any, Any]] = [(from_content, layer) for layer in options.content]
    wanted += [(from_style, count) for count in options.style]
    for reconstruct, what in wanted:
        watch = Watch(lambda image, done: None, iterations, 0)
        with watch.bar, stop_on_signal(watch):
            outcome = reconstruct(image, what, options.seed, iterations, watch)
        if watch.stop_training:
            return STOPPED
        picture = to_uint8(outcome.image)
        if reconstruct is from_content:
            caption = f"{what} {psnr(picture, image):.1f} dB"
        else:
            own = vgg(outcome.image[None])
            distance = np.mean(style_distances(own, VGG_STYLE, target))
            caption = f"layers 1-{what} {distance:.3f}"
        print(caption)
        captions.append(caption)
        pictures.append(picture)
    if len(pictures) == 2:
        write(pictures[1], options.output)
    else:
        line = labels(captions, options.size)
        write(np.vstack([line, np.hstack(pictures)]), options.output)
    return 0


def _tradeoff(options: argparse.Namespace) -> int:
    import io

    from sfumato.images import decode
    from train.evaluate import distances
    from train.run import stop_on_signal
    from train.tradeoff import figure, grid

    method = method_of(options)
    photo, style = decode(options.photo), decode(options.style)
    weights = options.content_weights, options.style_weights
    watch = Watch(lambda image, done: None, 10**9, 0)
    pictures, scores = [], []
    with watch.bar, stop_on_signal(watch):
        for picture in grid(method, photo, style, *weights, on_step=watch):
            if watch.stop_training:
                return STOPPED
            pictures.append(picture)
            scores.append(distances(picture, photo, style))
    drawn = decode(io.BytesIO(figure(pictures, scores, *weights)))
    write(drawn, options.output)
    return 0


def _single(options: argparse.Namespace) -> int:
    from train.recipe import Phase, Recipe
    from train.single import single

    done = single(
        Recipe.load(options.recipe, phase=Phase),
        options.content,
        options.style,
        options.out,
        options.resume,
        None if options.start is None else model_folder(options.start),
    )
    return 0 if done else STOPPED


def _bench(options: argparse.Namespace) -> int:
    from train.bench import bench

    method = method_of(options)
    print(bench(method, options.rounds))
    return 0


def write(picture: "np.ndarray", path: Path) -> None:
    """Encodes a picture as the path's ending says."""
    from sfumato.images import encode

    path.write_bytes(encode(picture, FORMATS[path.suffix.lower()]))


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "optimize": _optimize,
    "texture": _texture,
    "reconstruct": _reconstruct,
    "tradeoff": _tradeoff,
    "single": _single,
    "bench": _bench,
}
