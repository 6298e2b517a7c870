"""Conversion for the browser: what is published, and what is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import convert, parity
from export.graphs import (
    OUTPUTS,
    PRECISIONS,
    ExportError,
    convert_graph,
    nodes,
    save_networks,
)
from sfumato.model import StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig

SCRIPT = Path(convert.__file__)


def untrained(separable=True) -> StyleModel:
    """A small network with every weight away from its trivial start, so that no
    term vanishes from the graphs and styles differ."""
    keras.utils.set_random_seed(0)
    model = StyleModel(
        PredictorConfig(widths=(8, 12)),
        TransformerConfig(widths=(8, 12, 16), residual_blocks=1, separable=separable),
        {
            "training": {"steps": 0},
            "scores": {"content": 1.0},
            "data": "none",
            "licence": "MIT",
        },
    )
    random = np.random.default_rng(0)
    spread = {"moving_variance": 0.3, "gamma_kernel": 0.05, "beta_kernel": 0.05}
    for network in (model.predictor, model.transformer):
        for weight in network.trainable_weights + network.non_trainable_weights:
            noise = random.uniform(-1, 1, weight.shape) * spread.get(weight.name, 0.1)
            weight.assign(weight.numpy() + noise)
    return model


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_whole(bundle: Path) -> dict:
    """Every file of the manifest is there, as listed, and nothing else."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = snapshot(bundle)
    del files["manifest.json"]
    assert set(files) == {file["path"] for file in manifest["files"]}
    for file in manifest["files"]:
        content = files[file["path"]]
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    return manifest


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    untrained().save(folder)
    return folder


@pytest.fixture(scope="module")
def models(checkpoint, tmp_path_factory) -> Path:
    """One bundle for each precision, named after it."""
    folder = tmp_path_factory.mktemp("models")
    for precision in PRECISIONS:
        convert.publish(StyleModel.load(checkpoint), precision, precision, folder)
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_is_whole_and_says_what_it_holds(models, precision):
    manifest = assert_whole(models / precision)
    assert manifest["name"] == precision
    assert manifest["precision"] == precision
    assert manifest["licence"] == "MIT"
    assert manifest["training"] == {"steps": 0}
    assert manifest["scores"] == {"content": 1.0}
    sizes = {file["path"]: file["bytes"] for file in manifest["files"]}
    downloaded = 0
    for name, graph in manifest["graphs"].items():
        topology = json.loads((models / precision / graph["model"]).read_text())
        assert set(topology["signature"]["inputs"]) == set(graph["inputs"])
        assert set(topology["signature"]["outputs"]) == {graph["output"]}
        assert graph["bytes"] == sum(
            size for path, size in sizes.items() if path.startswith(f"{name}/")
        )
        downloaded += graph["bytes"]
        listed = [node["op"] for node in nodes(models / precision / name)]
        assert all(listed.count(op) == count for op, count in graph["ops"].items())
        assert set(listed) - set(graph["ops"]) == {"Placeholder", "Identity"}
    assert manifest["download_bytes"] == downloaded


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parity_is_recorded_within_its_limits(models, precision):
    figures = assert_whole(models / precision)["parity"]
    assert figures["backend"] == "wasm"
    for step in {"float32", precision}:
        assert parity.misses(figures[step], step) == []
        assert 0 < figures[step]["picture"]["mean"] < figures[step]["picture"]["max"]
    if precision != "float32":
        assert (
            figures[precision]["picture"]["mean"]
            > figures["float32"]["picture"]["mean"]
        )


def test_graphs_are_lean(models):
    graphs = assert_whole(models / "float32")["graphs"]
    # Batch norms are folded into the convolutions, with bias and activation.
    assert graphs["encoder"]["ops"] == {
        "MirrorPad": 3, "_FusedConv2D": 3, "Mul": 1, "Sub": 1
    }  # fmt: skip
    assert graphs["predictor"]["ops"]["_FusedConv2D"] == 2
    assert "Conv2D" not in graphs["predictor"]["ops"]
    # One op for each doubling of the size.
    assert graphs["decoder"]["ops"]["ResizeNearestNeighbor"] == 2
    assert not {"Tile", "Pack", "ExpandDims"} & set(graphs["decoder"]["ops"])


def test_quantised_weights_are_smaller(models):
    def shards(precision):
        return sum(path.stat().st_size for path in (models / precision).rglob("*.bin"))

    # A few int32 sizes and axes stay as they are.
    assert 0.50 <= shards("float16") / shards("float32") < 0.53
    assert 0.25 <= shards("uint8") / shards("float32") < 0.30


def test_a_bundle_loads_as_the_checkpoint_it_came_from(models, checkpoint):
    ours, theirs = StyleModel.load(models / "uint8"), StyleModel.load(checkpoint)
    photo = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    embedding = theirs.embed(photo)
    np.testing.assert_array_equal(ours.embed(photo), embedding)
    np.testing.assert_array_equal(
        ours.stylize(photo, embedding), theirs.stylize(photo, embedding)
    )


def test_the_index_lists_every_bundle_and_keeps_its_default(models):
    index = json.loads((models / "index.json").read_text())
    assert index == {"default": "float32", "models": sorted(PRECISIONS)}


def test_converting_again_gives_the_same_bytes(checkpoint, tmp_path):
    saved = save_networks(StyleModel.load(checkpoint), tmp_path)["encoder"]
    for attempt in ("one", "two"):
        convert_graph("encoder", saved, tmp_path / attempt, "float16")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_a_network_that_is_not_separable_converts(tmp_path):
    manifest = convert.publish(untrained(separable=False), "full", "float32", tmp_path)
    assert "DepthwiseConv2dNative" not in manifest["graphs"]["decoder"]["ops"]


class Erfinv(keras.layers.Layer):
    def call(self, x):
        return tf.math.erfinv(0.5 * x)


class Einsum(keras.layers.Layer):
    def call(self, x):
        return tf.einsum("bi,bj->bi", x, x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Erfinv, "predictor uses ops that TF.js lacks: Erfinv"),
        (Einsum, "predictor does not run on TF.js's wasm backend.*Einsum"),
    ],
)
def test_an_op_that_a_backend_lacks_is_refused(tmp_path, layer, message):
    model = untrained()
    style = model.predictor.input
    model.predictor = keras.Model(style, layer()(model.predictor(style)))
    with pytest.raises(ExportError, match=message):
        convert.publish(model, "new", "float32", tmp_path)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("graph", "weight", "layer"),
    [
        ("predictor", "conv1_1/conv", "conv1_relu"),
        ("encoder", "contract2_1/conv", "contract2_relu"),
        ("decoder", "residual0b_1/pointwise", "residual0b_1/pointwise"),
    ],
)
def test_a_graph_that_differs_is_refused_and_its_layer_named(
    models, checkpoint, monkeypatch, graph, weight, layer
):
    def convert_and_corrupt(name, saved_model, folder, precision):
        convert_graph(name, saved_model, folder, precision)
        if name == graph:
            reverse_weight(folder, weight)

    monkeypatch.setattr(convert, "convert_graph", convert_and_corrupt)
    before = snapshot(models)
    with pytest.raises(ExportError, match=f"the {graph} parts .* at .*{layer}"):
        convert.publish(StyleModel.load(checkpoint), "float16", "float16", models)
    assert snapshot(models) == before


def reverse_weight(folder: Path, part: str) -> None:
    """Turns round the numbers of the one float32 tensor with `part` in its name."""
    (group,) = json.loads((folder / "model.json").read_text())["weightsManifest"]
    (shard,) = group["paths"]
    content = bytearray((folder / shard).read_bytes())
    offset, found = 0, 0
    for entry in group["weights"]:
        end = offset + 4 * int(np.prod(entry["shape"]))
        if part in entry["name"]:
            numbers = np.frombuffer(bytes(content[offset:end]), "<f4")
            content[offset:end] = numbers[::-1].tobytes()
            found += 1
        offset = end
    assert found == 1
    (folder / shard).write_bytes(content)


def test_a_network_with_nan_is_refused(tmp_path):
    model = untrained()
    kernel = model.transformer.decoder.get_layer("expand1").weights[0]
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with pytest.raises(ExportError, match="picture max error nan"):
        convert.publish(model, "new", "float32", tmp_path)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "a b", "é"])
def test_a_bad_name_is_refused(tmp_path, checkpoint, name, capsys):
    arguments = [str(checkpoint), f"--name={name}", "--models", str(tmp_path)]
    assert convert.main(arguments) == 1
    assert f"{name!r} is no name for a model" in capsys.readouterr().err
    assert snapshot(tmp_path) == {}


def test_a_missing_checkpoint_is_refused(tmp_path, capsys):
    arguments = [str(tmp_path / "no"), "--name=new", "--models", str(tmp_path)]
    assert convert.main(arguments) == 1
    assert "is not a model: manifest.json is missing" in capsys.readouterr().err
    assert snapshot(tmp_path) == {}


def test_a_gallery_without_pictures_is_refused(tmp_path):
    with pytest.raises(ExportError, match="No pictures to compare with"):
        convert.publish(untrained(), "new", "float32", tmp_path / "m", tmp_path)


@pytest.mark.parametrize("stage", ["Comparing float16", "Publishing"])
def test_a_killed_conversion_leaves_a_whole_bundle(models, checkpoint, tmp_path, stage):
    folder = tmp_path / "models"
    convert._install(models / "float32", folder, "first")
    before = snapshot(folder)
    with subprocess.Popen(
        [sys.executable, SCRIPT, checkpoint, "--name=first", "--models", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        reached = any(line.startswith(stage) for line in process.stdout)
        os.killpg(process.pid, signal.SIGKILL)
    assert reached
    assert process.returncode == -signal.SIGKILL
    assert assert_whole(folder / "first")["precision"] in ("float32", "float16")
    assert (folder / "index.json").read_bytes() == before["index.json"]
    if stage != "Publishing":
        assert snapshot(folder) == before
    # What it left behind does not disturb the next one.
    convert._install(models / "float16", folder, "first")
    assert assert_whole(folder / "first")["precision"] == "float16"
    assert sorted(os.listdir(folder)) == ["first", "index.json"]


def test_a_bundle_is_replaced_in_one_step(models, tmp_path):
    convert._install(models / "float32", tmp_path, "first")
    manifest, done, seen, failures = (
        tmp_path / "first/manifest.json",
        threading.Event(),
        set(),
        [],
    )

    def read():
        while not done.is_set():
            try:
                seen.add(json.loads(manifest.read_text())["precision"])
            except (OSError, ValueError) as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for round_ in range(60):
        source = ("float16", "float32")[round_ % 2]
        convert._install(models / source, tmp_path, "first")
    done.set()
    reader.join()
    assert failures == []
    assert seen == {"float16", "float32"}


def test_a_bundle_that_is_gone_is_no_longer_the_default(models, tmp_path):
    convert._install(models / "float32", tmp_path, "old")
    convert._put(tmp_path / "old", tmp_path / ".gone")
    convert._install(models / "float32", tmp_path, "new")
    index = json.loads((tmp_path / "index.json").read_text())
    assert index == {"default": "new", "models": ["new"]}


def test_every_output_has_limits():
    assert set(parity.LIMITS) == set(parity.DIVERGENCE) == set(PRECISIONS)
    for limits in parity.LIMITS.values():
        assert "picture" in limits
        assert set(limits) <= set(OUTPUTS.values())
