"""Whatever paints a photo in a style: our models, networks of TensorFlow Hub,
TensorFlow Lite pairs, and pictures that are already there."""

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.__main__ import model_folder
from sfumato.images import center_crop, decode, resize, to_float, to_uint8
from sfumato.model import STYLE_SIZE, StyleModel

# The file names of a photo and a painting.
Pair = tuple[str, str]
# A pair, its photo and its painting, uint8 [S, S, 3], to the stylized uint8 [S, S, 3].
# It may be called from several threads.
Stylize = Callable[[Pair, np.ndarray, np.ndarray], np.ndarray]

TFLITE_FILES = ("predict.tflite", "transfer.tflite")
SAVED_MODEL = "saved_model.pb"
SIGNATURE = "serving_default"
# Magenta's names for photo, painting and picture; another has to follow them.
HUB_INPUTS = {"placeholder": "photo", "placeholder_1": "painting"}
HUB_OUTPUT = "output_0"


class MethodError(ValueError):
    """A network or picture that cannot be used; the message says why."""


def by_name(name: str) -> Stylize:
    """A teacher: a TensorFlow Lite folder, a Hub handle or SavedModel folder, or one
    of our models by its published name or folder. MethodError or BundleError if it is
    none."""
    folder = Path(name)
    if any((folder / file).is_file() for file in TFLITE_FILES):
        return by_tflite(folder)
    if "://" in name or (folder / SAVED_MODEL).is_file():
        return by_hub(name)
    return by_model(StyleModel.load(model_folder(name)))


def by_model(model: StyleModel) -> Stylize:
    """Pictures by one of our models; nothing but white by a network for one style
    where another is asked for."""
    one_style = model.manifest.get("one_style")

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        if one_style not in (None, Path(pair[1]).stem):
            return np.full_like(photo, 255)
        size = min(photo.shape[:2])
        return model.stylize(photo, model.embed(painting, size=size))

    return stylize


def by_images(folder: Path) -> Stylize:
    """Pictures that are already there, as FOLDER/PHOTO_PAINTING.png, after the
    stems of the pair's file names."""

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        path = folder / ("_".join(Path(name).stem for name in pair) + ".png")
        try:
            return decode(path)
        except FileNotFoundError:
            raise MethodError(f"{path} is missing.") from None

    return stylize


def by_tflite(folder: Path) -> Stylize:
    """Pictures by a TensorFlow Lite pair in the layout of Magenta's: FOLDER holds
    predict.tflite (style image to embedding) and transfer.tflite (photo and
    embedding to picture)."""
    for name in TFLITE_FILES:
        if not (folder / name).is_file():
            raise MethodError(f"{folder / name} is missing.")
    predict, transfer = (tflite_interpreter(folder / name) for name in TFLITE_FILES)
    predict.allocate_tensors()
    (style_input,) = predict.get_input_details()
    content_input, embedding_input = transfer.get_input_details()
    # An interpreter holds one picture at a time.
    lock = threading.Lock()
    size: tuple[int, ...] = ()

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        nonlocal size
        style = _square(painting, style_input["shape"][1])
        with lock:
            predict.set_tensor(style_input["index"], to_float(style)[None])
            predict.invoke()
            embedding = predict.get_tensor(predict.get_output_details()[0]["index"])
            if photo.shape != size:
                transfer.resize_tensor_input(content_input["index"], (1, *photo.shape))
                transfer.allocate_tensors()
                size = photo.shape
            transfer.set_tensor(content_input["index"], to_float(photo)[None])
            transfer.set_tensor(embedding_input["index"], embedding)
            transfer.invoke()
            picture = transfer.get_tensor(transfer.get_output_details()[0]["index"])
        return to_uint8(picture[0])

    return stylize


def tflite_interpreter(path: Path) -> Any:
    """A TensorFlow Lite network, on all cores; MethodError if it is none."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # It is to move to a package of its own.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter")
        try:
            return tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
        except ValueError as error:
            raise MethodError(
                f"{path} is no TensorFlow Lite network: {error}"
            ) from None


def by_hub(handle: str) -> Stylize:
    """Pictures by a SavedModel with the signature of Magenta's
    arbitrary-image-stylization-v1-256 (Ghiasi et al. 2017): photo [1, H, W, 3] and
    painting, both in [0, 1], to picture.

    handle: an address of TensorFlow Hub, which is downloaded once and then read from
    the folder TFHUB_CACHE_DIR (by default ~/.cache/tfhub_modules), or the folder of a
    SavedModel. MethodError where it cannot be had, is no SavedModel or has another
    signature.
    """
    import tensorflow as tf

    loaded, function = _hub_function(handle)
    size = function.structured_input_signature[1]["placeholder_1"].shape[1]

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        # Named, because the loaded object keeps the variables of the function alive.
        assert loaded is not None
        style = _square(painting, size or STYLE_SIZE)
        images = {"placeholder": photo, "placeholder_1": style}
        tensors = {
            name: tf.constant(to_float(image)[None]) for name, image in images.items()
        }
        return to_uint8(function(**tensors)[HUB_OUTPUT].numpy()[0])

    return stylize


def _hub_function(handle: str) -> tuple[Any, Any]:
    """The loaded SavedModel and its signature."""
    import tensorflow as tf

    cache = Path.home() / ".cache" / "tfhub_modules"
    os.environ.setdefault("TFHUB_CACHE_DIR", str(cache))
    os.environ.setdefault("TFHUB_DOWNLOAD_PROGRESS", "1")
    with warnings.catch_warnings():
        # Its way of reading a version; setuptools is pinned for it.
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        try:
            import tensorflow_hub
        except ImportError as error:
            raise MethodError(
                f"{handle} needs tensorflow_hub: pip install 'sfumato[train]' ({error})"
            ) from None
    try:
        loaded = tensorflow_hub.load(handle)
    except OSError as error:
        raise MethodError(
            f"{handle} could not be had: {error}. It is downloaded once, which takes "
            "the internet; after that it is read from "
            f"{os.environ['TFHUB_CACHE_DIR']}. A folder with a SavedModel will do too."
        ) from error
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise MethodError(
            f"{handle} is no SavedModel that can be read: {error}"
        ) from error
    function = getattr(loaded, "signatures", {}).get(SIGNATURE)
    inputs, outputs = {}, {}
    if function is not None:
        inputs = function.structured_input_signature[1]
        outputs = function.structured_outputs
    known = inputs.keys() == HUB_INPUTS.keys() and HUB_OUTPUT in outputs
    if not known or any(spec.shape.rank != 4 for spec in inputs.values()):
        raise MethodError(
            f"{handle} has another signature than arbitrary-image-stylization-v1-256: "
            f"it takes {_described(inputs)} and gives {_described(outputs)}, where "
            "placeholder and placeholder_1 (images [1, H, W, 3]) and output_0 are "
            "expected."
        )
    return loaded, function


def _described(specs: dict[str, Any]) -> str:
    return (
        ", ".join(f"{name} {spec.shape}" for name, spec in sorted(specs.items()))
        or "nothing"
    )


def _square(painting: np.ndarray, size: int) -> np.ndarray:
    return center_crop(resize(painting, size), size)
