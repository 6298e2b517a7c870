"""Times the published model in this machine's Chromium and in TensorFlow, and prints
a Markdown table: `python tests/bench.py [--model NAME] [--peers DIR]`.

Beside it, in the same browser and process, Magenta's networks, if their folder is
there: the transformer and predictor of its TF.js demo, and its TF Lite pair. The
demo's predictor has no published weights and runs on random ones, at equal cost.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flask import send_from_directory
from playwright.sync_api import Page, sync_playwright

from export.convert import MODELS
from export.parity import node_program
from server import create_app, create_server
from sfumato.model import StyleModel
from sfumato.transformer import MARGIN
from train.methods import tflite_interpreter

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SFUMATO_SHARED", ROOT.parent / "shared"))
STYLE_SIZE = 256
SIZES = (256, 512)
BACKENDS = {"wasm": "WebAssembly", "webgl": "WebGL"}
# Timed runs of each job, of which the fastest counts.
REPEATS = {"wasm": 5, "webgl": 5, "server": 30}
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
BUILD = """
import { build } from "vite";
await build({
  configFile: false,
  base: "./",
  logLevel: "warn",
  build: {
    target: "es2022",
    outDir: process.argv[1],
    emptyOutDir: true,
    copyPublicDir: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { input: "bench.html" },
  },
});
"""
RENDERER = """() => {
  const gl = document.createElement("canvas").getContext("webgl2");
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
}"""

# A graph to run, and the shape of each input or "previous": see web/src/bench.ts.
Step = dict[str, Any]

EMBEDDING = "Embedding of a painting"
PAINTING = "Painting, {} px"
REPAINTING = "The same photo in another style, {} px"


@dataclass(frozen=True)
class Networks:
    """graphs: their addresses by name; jobs: the steps of every measurement, by
    label; kilobytes: the download of the predictor and of the transformer."""

    title: str
    graphs: dict[str, str]
    jobs: dict[str, list[Step]]
    kilobytes: tuple[float, float]


def picture(size: int) -> list[int]:
    return [1, size, size, 3]


def step(graph: str, **inputs: Any) -> Step:
    return {"graph": graph, "inputs": inputs}


def sfumato(name: str, manifest: dict[str, Any]) -> Networks:
    graphs = manifest["graphs"]
    channels = graphs["decoder"]["inputs"]["features"][3]
    embedding = [1, manifest["embedding_size"]]
    jobs = {EMBEDDING: [step("predictor", style=picture(STYLE_SIZE))]}
    for size in SIZES:
        side = (size + 2 * MARGIN) // manifest["size_multiple"]
        jobs[PAINTING.format(size)] = [
            step("encoder", content=picture(size)),
            step("decoder", features="previous", embedding=embedding),
        ]
        jobs[REPAINTING.format(size)] = [
            step("decoder", features=[1, side, side, channels], embedding=embedding)
        ]
    size_of = {graph: entry["bytes"] / 1e3 for graph, entry in graphs.items()}
    return Networks(
        f"Sfumato `{name}`",
        {graph: f"/models/{name}/{graphs[graph]['model']}" for graph in graphs},
        jobs,
        (size_of["predictor"], size_of["encoder"] + size_of["decoder"]),
    )


def magenta(peers: Path, folder: Path) -> Networks:
    """The TF.js demo's networks, put into `folder`, which is served as /bench."""
    shutil.copytree(peers / "transformer-separable", folder / "transformer")
    model = json.loads(
        (peers / "predictor-mobilenet-graph-only/model.json").read_text()
    )
    weights = [
        entry for group in model["weightsManifest"] for entry in group["weights"]
    ]
    model["weightsManifest"] = [{"paths": ["weights.bin"], "weights": weights}]
    predictor = folder / "predictor"
    predictor.mkdir()
    (predictor / "model.json").write_text(json.dumps(model))
    (predictor / "weights.bin").write_bytes(b"".join(map(random_weight, weights)))
    jobs = {EMBEDDING: [step("predictor", Placeholder=picture(STYLE_SIZE))]}
    for size in SIZES:
        # One graph: another style costs as much as another photo.
        jobs[PAINTING.format(size)] = jobs[REPAINTING.format(size)] = [
            step("transformer", Placeholder=picture(size), Placeholder_1=[1, 1, 1, 100])
        ]
    return Networks(
        "Magenta",
        {graph: f"/bench/{graph}/model.json" for graph in ("predictor", "transformer")},
        jobs,
        (kilobytes(predictor), kilobytes(folder / "transformer")),
    )


def random_weight(entry: dict[str, Any]) -> bytes:
    if entry["dtype"] == "int32":
        # The only ones are the axes of a mean over the picture.
        return np.array([1, 2], "<i4").tobytes()
    values = np.random.default_rng(0).normal(0, 0.1, math.prod(entry["shape"]))
    # As far from 0 as a variance has to be; the others may be so too.
    return (np.abs(values) + 0.1).astype("<f4").tobytes()


def kilobytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e3


def time_in_browser(
    page: Page, backend: str, contenders: list[Networks]
) -> list[dict[str, float]]:
    """Milliseconds of every job, by label, for each of the contenders in turn."""
    results = []
    for networks in contenders:
        page.evaluate("backend => bench.start(backend)", backend)
        for name, url in networks.graphs.items():
            page.evaluate("([name, url]) => bench.load(name, url)", [name, url])
        milliseconds: dict[str, float] = {}
        for label, steps in networks.jobs.items():
            same = [done for done in milliseconds if networks.jobs[done] is steps]
            if same:
                milliseconds[label] = milliseconds[same[0]]
                continue
            report(f"  {BACKENDS[backend]}, {networks.title}: {label}")
            times = page.evaluate(
                "([steps, repeats]) => bench.time(steps, repeats)",
                [steps, REPEATS[backend]],
            )
            milliseconds[label] = min(times)
        results.append(milliseconds)
    return results


def time_tensorflow(model: StyleModel) -> dict[str, float]:
    style = noise(STYLE_SIZE)
    embedding = model.embed(style)
    milliseconds = {EMBEDDING: fastest(lambda: model.embed(style))}
    for size in SIZES:
        photo = noise(size)
        milliseconds[PAINTING.format(size)] = fastest(
            lambda photo=photo: model.stylize(photo, embedding)  # type: ignore[misc]
        )
    return milliseconds


def time_tflite(peers: Path) -> dict[str, float]:
    """Magenta's TF Lite pair on all cores, from uint8 pictures to uint8 pictures."""

    def run(network: Any, *inputs: np.ndarray) -> np.ndarray:
        for details, value in zip(network.get_input_details(), inputs, strict=True):
            network.set_tensor(details["index"], value)
        network.invoke()
        return network.get_tensor(network.get_output_details()[0]["index"])

    def as_input(image: np.ndarray) -> np.ndarray:
        return image[None].astype(np.float32) / 255.0

    style = noise(STYLE_SIZE)
    predictor = tflite_interpreter(peers / "predict.tflite")
    transformer = tflite_interpreter(peers / "transfer.tflite")
    predictor.allocate_tensors()
    embedding = run(predictor, as_input(style))
    milliseconds = {EMBEDDING: fastest(lambda: run(predictor, as_input(style)))}
    for size in SIZES:
        content = transformer.get_input_details()[0]["index"]
        transformer.resize_tensor_input(content, picture(size))
        transformer.allocate_tensors()
        photo = noise(size)

        def paint(photo: np.ndarray = photo) -> np.ndarray:
            painted = run(transformer, as_input(photo), embedding)
            return np.rint(painted * 255.0).astype(np.uint8)

        milliseconds[PAINTING.format(size)] = fastest(paint)
    return milliseconds


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def fastest(job: Callable[[], Any]) -> float:
    times = []
    for _ in range(1 + REPEATS["server"]):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The server, with `folder` as /bench; gives its address."""
    app = create_app()
    app.add_url_rule(
        "/bench/<path:path>", "bench", lambda path: send_from_directory(folder, path)
    )
    server = create_server(app, "127.0.0.1", 0)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"


def table(
    rows: list[tuple[str, list[str]]], columns: list[str], notes: list[str]
) -> str:
    lines = [
        f"| | {' | '.join(columns)} |",
        f"|---|{'--:|' * len(columns)}",
        *(f"| {label} | {' | '.join(cells)} |" for label, cells in rows),
        "",
        *notes,
    ]
    return "\n".join(lines)


def machine(browser: str, renderer: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    software = " (software, no graphics card: only its ratios say anything)"
    return (
        f"Measured on {names[0] if names else platform.machine()}, "
        f"{os.cpu_count()} cores, Chromium {browser}; WebGL by {renderer}"
        f"{software if 'SwiftShader' in renderer else ''}. The fastest of "
        f"{REPEATS['wasm']} runs on WebAssembly, {REPEATS['webgl']} on WebGL and "
        f"{REPEATS['server']} on the server, after one to warm up."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures size and speed.")
    parser.add_argument("--model", help="published model (default: the default one)")
    parser.add_argument(
        "--peers",
        type=Path,
        default=SHARED / "peers",
        help="folder of networks to compare with (default: %(default)s)",
    )
    options = parser.parse_args()

    index = json.loads((MODELS / "index.json").read_text())
    name = options.model or index["default"]
    manifest = json.loads((MODELS / name / "manifest.json").read_text())
    compare = options.peers.is_dir()
    if not compare:
        report(f"No networks to compare with: {options.peers} is not there.")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("Chromium is needed: apt-get install chromium")

    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as temporary:
        folder = Path(temporary)
        report("Building the bench page")
        subprocess.run(
            [node_program(), "--input-type=module", "-e", BUILD, folder],
            cwd=ROOT / "web",
            check=True,
        )
        contenders = [sfumato(name, manifest)]
        if compare:
            contenders.append(magenta(options.peers / "magenta-tfjs", folder))
        with served(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=CHROMIUM_ARGUMENTS
            )
            page = browser.new_page()
            page.set_default_timeout(0)
            page.goto(f"{address}/bench/bench.html")
            page.wait_for_function("window.bench")
            in_browser = {
                backend: time_in_browser(page, backend, contenders)
                for backend in BACKENDS
            }
            where = machine(browser.version, page.evaluate(RENDERER))
            browser.close()
    report("  Server")
    on_server = [time_tensorflow(StyleModel.load(MODELS / name))]
    if compare:
        on_server.append(time_tflite(options.peers / "magenta-mobile"))

    columns = [networks.title for networks in contenders]
    rows = [
        (
            "Download in the browser, KB: predictor + transformer",
            [" + ".join(f"{size:,.0f}" for size in c.kilobytes) for c in contenders],
        )
    ]
    for backend, label in BACKENDS.items():
        for job in contenders[0].jobs:
            cells = [f"{result[job]:,.0f}" for result in in_browser[backend]]
            rows.append((f"{job}, {label}, ms", cells))
    for job in on_server[0]:
        cells = [f"{result[job]:,.0f}" for result in on_server]
        rows.append((f"{job}, server, ms", cells))
    notes = [where]
    if compare:
        notes.append(
            "Magenta in the browser: the separable networks of its TF.js demo. On "
            "the server: TensorFlow for Sfumato, Magenta's TF Lite pair for Magenta."
        )
    print(table(rows, columns, notes))


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
