"""Networks of TensorFlow Hub: from the cache, downloaded, and refused in words."""

import functools
import hashlib
import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import picture
from PIL import Image

from sfumato.model import BundleError
from train.__main__ import main
from train.methods import MethodError, by_hub, by_name

HANDLE = "https://tfhub.dev/google/magenta/arbitrary-image-stylization-v1-256/2"
PHOTO = tf.TensorSpec((None, None, None, 3), tf.float32, "placeholder")
PAINTING = tf.TensorSpec((1, 256, 256, 3), tf.float32, "placeholder_1")


def save(folder: Path, halved: bool = False, **renamed: str) -> Path:
    """A SavedModel with Magenta's signature: the photo in the painting's mean colour.
    `halved`: at half the photo's size; `renamed`: inputs by other names."""

    @tf.function(input_signature=[PHOTO, PAINTING])
    def paint(photo, painting):
        colour = tf.reduce_mean(painting, axis=(1, 2), keepdims=True)
        picture = 0.5 * photo + 0.5 * colour
        return {"output_0": picture[:, ::2, ::2] if halved else picture}

    module = tf.Module()
    module.paint = paint
    specs = {
        spec.name: tf.TensorSpec(
            spec.shape, spec.dtype, renamed.get(spec.name, spec.name)
        )
        for spec in (PHOTO, PAINTING)
    }
    signature = tf.function(lambda **images: paint(*images.values()))
    tf.saved_model.save(
        module,
        str(folder),
        {
            "serving_default": signature.get_concrete_function(
                **{spec.name: spec for spec in specs.values()}
            )
        },
    )
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of TensorFlow Hub."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder))
    monkeypatch.setenv("TFHUB_DOWNLOAD_PROGRESS", "1")
    return folder


@pytest.fixture
def primed(cache) -> str:
    """Magenta's handle, with a small network of its signature in the cache."""
    save(cache / hashlib.sha1(HANDLE.encode()).hexdigest())
    return HANDLE


@pytest.fixture
def web(tmp_path) -> Iterator[tuple[str, Path]]:
    """The address of a web server and the folder that it serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def expected(photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
    return photo / 2 + painting.mean(axis=(0, 1)) / 2


def test_a_handle_paints_from_the_primed_cache(primed):
    photo, painting = picture(48, 64, 1), picture(256, 256, 2)
    painted = by_hub(primed)(("photo", "painting"), photo, painting)
    assert painted.shape == (48, 64, 3)
    np.testing.assert_allclose(painted, expected(photo, painting), atol=1)


def test_a_handle_is_downloaded_once_with_progress(cache, web, tmp_path, capsys):
    address, folder = web
    with tarfile.open(folder / "network", "w:gz") as archive:
        archive.add(save(tmp_path / "network"), ".")
    handle = f"{address}/network"
    photo, painting = picture(32, 32, 1), picture(256, 256, 2)
    first = by_hub(handle)(("a", "b"), photo, painting)
    assert "Downloaded" in capsys.readouterr().out
    (folder / "network").unlink()
    np.testing.assert_array_equal(by_hub(handle)(("a", "b"), photo, painting), first)


def test_a_handle_that_cannot_be_reached_says_what_to_do(cache):
    # Nothing listens on the port for discarding.
    with pytest.raises(MethodError, match=r"could not be had.*takes the internet"):
        by_hub("http://127.0.0.1:9/network/1")
    assert not list(cache.glob("*/saved_model.pb"))


def test_a_network_with_another_signature_is_refused(tmp_path):
    save(tmp_path / "other", placeholder_1="mask")
    with pytest.raises(MethodError, match=r"another signature .* takes mask"):
        by_name(str(tmp_path / "other"))


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(MethodError, match="no SavedModel"):
        by_hub(str(tmp_path))
    with pytest.raises(BundleError, match="is not a model"):
        by_name(str(tmp_path))
    (tmp_path / "predict.tflite").write_bytes(b"none")
    with pytest.raises(MethodError, match=r"transfer\.tflite is missing"):
        by_name(str(tmp_path))
    (tmp_path / "transfer.tflite").write_bytes(b"none")
    with pytest.raises(MethodError, match="no TensorFlow Lite network"):
        by_name(str(tmp_path))


def test_evaluate_and_compare_take_handles_beside_bundles(
    primed, models_folder, tmp_path, capsys
):
    for kind in ("content", "style"):
        (tmp_path / kind).mkdir()
        Image.fromarray(picture(80, 96, len(kind))).save(tmp_path / kind / "a.png")
    (tmp_path / "pairs.csv").write_text("content,style\na.png,a.png\n")
    methods = ["--hub", primed, "--bundle", str(models_folder / "untrained")]
    pairs = ["--pairs", str(tmp_path / "pairs.csv"), "--root", str(tmp_path)]
    assert main(["evaluate", *methods, *pairs, "--size", "64"]) == 0
    table = capsys.readouterr().out
    assert f"| {primed} |" in table
    assert f"| {models_folder / 'untrained'} |" in table
    images = ["--content", str(tmp_path / "content" / "a.png")]
    images += ["--style", str(tmp_path / "style" / "a.png"), "--size", "64"]
    out = tmp_path / "sheet.png"
    assert main(["compare", *methods, *images, "-o", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.width == 4 * 64
