"""Conversion for the browser: what is published, and what is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import convert, parity, published
from export.graphs import (
    OUTPUTS,
    PRECISIONS,
    ExportError,
    convert_graph,
    inference_networks,
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
    """One bundle for each precision, named after it, and one with two of them."""
    folder = tmp_path_factory.mktemp("models")
    for precision in PRECISIONS:
        convert.publish(StyleModel.load(checkpoint), precision, precision, folder)
    arguments = [str(checkpoint), "--name=both", "--models", str(folder)]
    arguments += ["--quantize=float16", "--quantize=uint8", "--title=Both of them"]
    assert convert.main([*arguments, "--description", "For a test."]) == 0
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


def test_variants_lie_in_one_bundle_and_pass_the_same_checks(models, checkpoint):
    """What --quantize float16 --quantize uint8 gives is what each gives alone."""
    assert_whole(models / "both")
    manifest = json.loads((models / "both/manifest.json").read_text())
    (variant,) = manifest["variants"]
    assert (manifest["precision"], variant["precision"]) == ("float16", "uint8")
    assert set(manifest["parity"]) == {"backend", "tfjs", *PRECISIONS}
    for found, folder in ((manifest, ""), (variant, "uint8")):
        alone = models / found["precision"]
        for graph, entry in found["graphs"].items():
            assert entry["model"] == f"{folder}/{graph}/model.json".removeprefix("/")
            (ours,) = (models / "both" / folder / graph).glob("*.bin")
            assert ours.read_bytes() == (alone / graph / ours.name).read_bytes()
    assert variant["download_bytes"] < manifest["download_bytes"]


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
    # Batch norms are folded into the convolutions, with bias and activation. The rest
    # is the margin's, once for each of the four borders, and the grain's.
    margin = Counter({
        "MirrorPad": 4, "Mul": 2 * 4, "Sub": 4, "StridedSlice": 3 * 4, "ReverseV2": 4,
        "Sum": 4, "AvgPool": 4, "Maximum": 2 * 4, "Minimum": 2 * 4, "ConcatV2": 2,
        "Transpose": 4,
    })  # fmt: skip
    grain = Counter({
        "AvgPool": 1, "MaxPool": 2, "Neg": 1, "AddV2": 4, "Mul": 5, "Minimum": 1,
        "ResizeNearestNeighbor": 1, "StridedSlice": 9, "Tile": 3, "MatMul": 1,
        "Reshape": 2, "Shape": 3, "FloorDiv": 2, "ExpandDims": 4, "Pack": 5,
        "ConcatV2": 1, "Unpack": 1,
    })  # fmt: skip
    rest = Counter({"_FusedConv2D": 3, "MirrorPad": 3, "Mul": 1, "Sub": 1})
    assert graphs["encoder"]["ops"] == margin + grain + rest
    assert graphs["predictor"]["ops"]["_FusedConv2D"] == 2
    assert "Conv2D" not in graphs["predictor"]["ops"]
    # Two convolutions give cells that become pixels, by rows laid side by side; the
    # style of what stays cells has its numbers once for each of their four pixels.
    assert graphs["decoder"]["ops"]["Split"] == 2
    assert graphs["decoder"]["ops"]["ConcatV2"] == 2 + 4
    # Means over rows are matrix products, and what is left to average is one row.
    assert graphs["decoder"]["ops"]["BatchMatMulV2"] == 2 * (2 * 1 + 2)
    slow = {"DepthToSpace", "Einsum", "ExpandDims", "ResizeNearestNeighbor", "Tile"}
    assert not slow & set(graphs["decoder"]["ops"])


@pytest.mark.parametrize("size", [(20, 20), (24, 36)])
def test_as_the_browser_computes_it_the_picture_is_the_same(size):
    model = untrained()
    random = np.random.default_rng(2)
    content = tf.constant(random.random((1, *size, 3), np.float32))
    embedding = tf.constant(random.standard_normal((1, 100), np.float32))
    features = model.transformer.encoder(content)
    exported = inference_networks(model)
    np.testing.assert_allclose(exported["encoder"](content), features, atol=3e-6)
    cells = exported["decoder"]([features, embedding])
    expected = model.transformer.decoder([features, embedding])
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(cells, expected, atol=3e-6)


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


def read_index(folder: Path) -> dict:
    return json.loads((folder / "index.json").read_text())


def test_the_index_lists_every_card_and_keeps_its_default(models):
    index = read_index(models)
    assert index["default"] == "float32"
    assert list(index["models"]) == ["both", *sorted(PRECISIONS)]
    for name, card in index["models"].items():
        manifest = json.loads((models / name / "manifest.json").read_text())
        assert card["version"] == manifest["version"]
        assert card["licence"] == "MIT"
        first, *_ = card["downloads"]
        assert first == manifest["precision"]
        assert card["downloads"][first] == manifest["download_bytes"]
    both = index["models"]["both"]
    assert (both["title"], both["description"]) == ("Both of them", "For a test.")
    assert list(both["downloads"]) == ["float16", "uint8"]
    assert index["models"]["uint8"]["title"] == "uint8"
    assert "description" not in index["models"]["uint8"]


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


class Cumsum(keras.layers.Layer):
    def call(self, x):
        return tf.cumsum(x, axis=-1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Erfinv, "predictor uses ops that TF.js lacks: Erfinv"),
        (Einsum, "predictor uses einsum, an operation that the page leaves out"),
        (Cumsum, "predictor uses cumsum, an operation that the page leaves out"),
    ],
)
def test_an_op_that_tfjs_or_the_page_lacks_is_refused(tmp_path, layer, message):
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
    published.install(models / "float32", folder, "first")
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
    published.install(models / "float16", folder, "first")
    assert assert_whole(folder / "first")["precision"] == "float16"
    assert sorted(os.listdir(folder)) == ["first", "index.json"]


def test_a_bundle_is_replaced_in_one_step(models, tmp_path):
    published.install(models / "float32", tmp_path, "first")
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
        published.install(models / source, tmp_path, "first")
    done.set()
    reader.join()
    assert failures == []
    assert seen == {"float16", "float32"}


def test_a_bundle_that_is_gone_is_no_longer_the_default(models, tmp_path):
    published.install(models / "float32", tmp_path, "old")
    published.put(tmp_path / "old", tmp_path / ".gone")
    published.install(models / "float32", tmp_path, "new")
    index = read_index(tmp_path)
    assert index["default"] == "new"
    assert list(index["models"]) == ["new"]


@pytest.fixture
def shelf(models, tmp_path) -> Path:
    """A folder with the models `a`, the default, and `b`."""
    folder = tmp_path / "shelf"
    published.install(models / "float32", folder, "a")
    published.install(models / "both", folder, "b")
    return folder


def run(shelf: Path, *arguments: str) -> int:
    return convert.main([*arguments, "--models", str(shelf)])


def test_a_model_is_renamed_and_stays_the_default(shelf):
    files = snapshot(shelf / "a")
    assert run(shelf, "--rename", "a", "c") == 0
    assert sorted(os.listdir(shelf)) == ["b", "c", "index.json"]
    assert read_index(shelf)["default"] == "c"
    assert list(read_index(shelf)["models"]) == ["b", "c"]
    assert assert_whole(shelf / "c")["name"] == "c"
    renamed = snapshot(shelf / "c")
    del files["manifest.json"], renamed["manifest.json"]
    assert renamed == files
    assert StyleModel.load(shelf / "c").manifest["name"] == "c"


def test_a_model_is_removed_and_another_made_the_default(shelf, capsys):
    before = snapshot(shelf)
    assert run(shelf, "--remove", "a") == 1
    assert "choose another one with --default first" in capsys.readouterr().err
    assert snapshot(shelf) == before
    assert run(shelf, "--default", "b") == 0
    assert read_index(shelf)["default"] == "b"
    assert run(shelf, "--remove", "a") == 0
    assert sorted(os.listdir(shelf)) == ["b", "index.json"]
    assert list(read_index(shelf)["models"]) == ["b"]


@pytest.mark.parametrize("name", ["../a", "..", "/etc", "a/../b", ".a.partial"])
@pytest.mark.parametrize(
    "arguments", ["--rename|{}|c", "--rename|a|{}", "--remove|{}", "--default|{}"]
)
def test_a_name_that_leaves_the_folder_changes_nothing(shelf, capsys, arguments, name):
    before = snapshot(shelf.parent)
    assert run(shelf, *arguments.format(name).split("|")) == 1
    assert f"{name!r} is no name for a model" in capsys.readouterr().err
    assert snapshot(shelf.parent) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rename", "nobody", "c"], "There is no model 'nobody'; there are: a, b."),
        (["--rename", "a", "b"], "There is a model 'b' already"),
        (["--remove", "nobody"], "There is no model 'nobody'"),
        (["--default", "nobody"], "There is no model 'nobody'"),
    ],
)
def test_what_cannot_be_done_changes_nothing(shelf, capsys, arguments, message):
    before = snapshot(shelf)
    assert run(shelf, *arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("Nothing was changed.")
    assert message in said
    assert snapshot(shelf) == before


def test_bundles_of_a_newer_format_are_left_alone(shelf, checkpoint, tmp_path, capsys):
    """Neither published, nor listed as if they could be read, nor overwritten."""
    newer = tmp_path / "newer"
    StyleModel.load(checkpoint).save(newer)
    change_manifest(newer, format=99)
    assert run(shelf, str(newer), "--name=new") == 1
    said = capsys.readouterr().err
    assert said.startswith("Nothing was published.")
    assert "bundle format 99" in said
    assert not (shelf / "new").exists()

    change_manifest(shelf / "b", format=99)
    before = snapshot(shelf)
    for arguments in (
        [str(checkpoint), "--name=new"],
        ["--rename", "a", "c"],
        ["--remove", "a"],
        ["--default", "b"],
        ["--site", str(tmp_path / "site")],
    ):
        assert run(shelf, *arguments) == 1
        assert "b has the bundle format 99" in capsys.readouterr().err
    assert snapshot(shelf) == before
    assert not (tmp_path / "site").exists()


def test_a_damaged_neighbour_is_named_and_can_be_replaced(shelf, models, capsys):
    (shelf / "b/manifest.json").write_text("{")
    assert run(shelf, "--default", "a") == 1
    assert "b/manifest.json is damaged" in capsys.readouterr().err
    published.install(models / "both", shelf, "b")
    assert run(shelf, "--default", "b") == 0
    (shelf / "index.json").write_text("[]")
    assert run(shelf, "--default", "a") == 1
    assert "index.json is damaged" in capsys.readouterr().err


def change_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments CHECKPOINT --rename --remove"),
        (["folder"], "--name is needed"),
        (["folder", "--remove=a", "--name=b"], "not allowed with argument"),
        (["--remove=a", "--title=b"], "--title goes with CHECKPOINT only"),
        (["--default=a", "--include=a"], "--include goes with --site only"),
    ],
)
def test_commands_that_do_not_go_together(shelf, capsys, arguments, message):
    before = snapshot(shelf)
    with pytest.raises(SystemExit, match="2"):
        run(shelf, *arguments)
    assert message in capsys.readouterr().err
    assert snapshot(shelf) == before


def test_every_output_has_limits():
    assert set(parity.LIMITS) == set(parity.DIVERGENCE) == set(PRECISIONS)
    for limits in parity.LIMITS.values():
        assert "picture" in limits
        assert set(limits) <= set(OUTPUTS.values())
