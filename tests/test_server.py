"""The server over real HTTP: the page's files, the API, and every bad input."""

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import brotli
import numpy as np
import pytest
import requests
from conftest import ROOT, picture, publish, untrained_model
from PIL import Image
from test_images import png_header
from whitenoise.compress import main as compress

from server import create_app
from sfumato.images import decode, encode, resize
from sfumato.model import mix

PHOTO = encode(picture(48, 61, seed=1))
STYLE = encode(picture(64, 64, seed=2))
OTHER_STYLE = encode(picture(64, 80, seed=3))
SCRIPT = "console.log('paint');\n" * 100


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A page laid out as Vite builds it, compressed as the set-up does."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Sfumato</title>")
    (folder / "assets" / "index-C0ffee12.js").write_text(SCRIPT)
    (folder / "assets" / "tfjs-backend-wasm-1a2b3c4d.wasm").write_bytes(b"\0asm")
    assert compress(["--quiet", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "woodcut.webp").write_bytes(encode(picture(32, 32), "WEBP"))
    return folder


@pytest.fixture(scope="module")
def url(serve, dist, gallery, models_folder) -> str:
    return serve(
        DIST=dist, GALLERY=gallery, MODELS=models_folder, MAX_CONTENT_LENGTH=4 * 2**20
    )


def problem(response: requests.Response, status: int) -> str:
    """The detail of a problem answer, once its form is right."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert response.status_code == body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.text
    return body["detail"]


def assert_protected(response: requests.Response) -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["worker-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert "unsafe-inline" not in str(policy)
    assert "'unsafe-eval'" not in str(policy)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


# The page and its files


def test_the_page_is_revalidated_and_protected(url):
    page = requests.get(f"{url}/")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == 'text/html; charset="utf-8"'
    assert "<title>Sfumato</title>" in page.text
    assert page.headers["Cache-Control"] == "no-cache"
    assert_protected(page)
    again = requests.get(f"{url}/", headers={"If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304


def test_hashed_files_are_immutable_and_compressed(url):
    address = f"{url}/assets/index-C0ffee12.js"
    plain = requests.get(address, headers={"Accept-Encoding": "identity"})
    assert plain.text == SCRIPT
    assert plain.headers["Content-Type"] == 'text/javascript; charset="utf-8"'
    assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert_protected(plain)
    for encoding, unpack in (("br", brotli.decompress), ("gzip", gzip.decompress)):
        packed = requests.get(
            address, headers={"Accept-Encoding": encoding}, stream=True
        )
        assert packed.headers["Content-Encoding"] == encoding
        assert packed.headers["Vary"] == "Accept-Encoding"
        data = packed.raw.read()
        assert len(data) < len(SCRIPT) / 5
        assert unpack(data).decode() == SCRIPT
    wasm = requests.get(f"{url}/assets/tfjs-backend-wasm-1a2b3c4d.wasm")
    assert wasm.headers["Content-Type"] == "application/wasm"


def test_an_unbuilt_page_says_how_to_build_it(serve, models_folder, tmp_path):
    address = serve(DIST=tmp_path / "dist", MODELS=models_folder)
    page = requests.get(f"{address}/")
    assert page.status_code == 503
    assert "make run" in page.text
    assert "npm run build" in page.text
    assert requests.get(f"{address}/healthz").status_code == 200


def test_model_files_are_revalidated_and_their_json_is_compressed(url, models_folder):
    address = f"{url}/models/untrained/manifest.json"
    expected = (models_folder / "untrained" / "manifest.json").read_bytes()
    response = requests.get(address, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(response.raw.read()) == expected
    assert_protected(response)
    plain = requests.get(address, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == expected
    for etag in (response.headers["ETag"], plain.headers["ETag"]):
        again = requests.get(address, headers={"If-None-Match": etag})
        assert again.status_code == 304
    weights = requests.get(f"{url}/models/untrained/predictor.weights.h5")
    assert weights.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Encoding" not in weights.headers


def test_gallery_pictures_have_their_type(url, gallery):
    response = requests.get(f"{url}/gallery/woodcut.webp")
    assert response.headers["Content-Type"] == "image/webp"
    assert response.content == (gallery / "woodcut.webp").read_bytes()
    part = requests.get(f"{url}/gallery/woodcut.webp", headers={"Range": "bytes=4-9"})
    assert part.status_code == 206
    assert part.content == response.content[4:10]


@pytest.mark.parametrize(
    "path",
    [
        "/models/../server.py",
        "/models/%2e%2e/server.py",
        "/models/..%2f..%2fetc%2fpasswd",
        "/gallery/%2e%2e/index.json",
        "/assets/../../server.py",
        "/../pyproject.toml",
        "/models/untrained/",
        "/nowhere",
        "/api/nowhere",
    ],
)
def test_nothing_else_is_served(url, path):
    # requests would tidy the path before sending it.
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 404
        assert json.load(response)["status"] == 404
    finally:
        connection.close()


# The API


def test_models_lists_what_is_published(url, model):
    response = requests.get(f"{url}/api/models")
    assert response.headers["Content-Type"] == "application/json"
    assert_protected(response)
    body = response.json()
    assert body["default"] == "untrained"
    (listed,) = body["models"]
    for key in ("name", "version", "licence", "embedding_size", "min_size"):
        assert listed[key] == model.manifest[key]
    assert "files" not in listed


def test_a_server_without_models(serve, tmp_path):
    address = serve(MODELS=tmp_path)
    assert requests.get(f"{address}/api/models").json() == {
        "default": None,
        "models": [],
    }
    response = requests.post(f"{address}/api/embed", files={"image": STYLE})
    assert "export/convert.py" in problem(response, 503)


@pytest.mark.parametrize(
    ("scale", "size"), [(None, None), (0.5, None), (1.6, None), (None, 64), (2.0, 900)]
)
def test_embed_is_the_models_embedding(url, model, scale, size):
    response = requests.post(
        f"{url}/api/embed",
        files={"image": STYLE},
        data={"scale": scale, "size": size},
    )
    assert response.status_code == 200
    body = response.json()
    assert (body["model"], body["version"]) == ("untrained", model.manifest["version"])
    embedding = np.array(body["embedding"], np.float32)
    np.testing.assert_array_equal(embedding, model.embed(STYLE, scale or 1.0, size))
    if scale or size:
        assert np.abs(embedding - model.embed(STYLE)).max() > 1e-3


def test_stylize_paints_what_the_model_paints(url, model):
    response = requests.post(
        f"{url}/api/stylize", files={"photo": PHOTO, "style": STYLE}
    )
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Model"] == "untrained"
    assert response.headers["X-Model-Version"] == model.manifest["version"]
    np.testing.assert_array_equal(
        decode(response.content), model.stylize(PHOTO, model.embed(STYLE, size=48))
    )


def test_styles_embeddings_weights_strength_and_size(url, model):
    embedding = model.embed(encode(picture(40, 40, seed=5)))
    response = requests.post(
        f"{url}/api/stylize",
        files=[("photo", PHOTO), ("style", STYLE), ("style", OTHER_STYLE)],
        data={
            "weight": ["2", "0.5", "1.5"],
            "embedding": json.dumps(embedding.tolist()),
            "strength": "1.3",
            "size": "33",
            "model": "untrained",
        },
    )
    assert response.status_code == 200, response.text
    style, other_style = (model.embed(one, size=33) for one in (STYLE, OTHER_STYLE))
    style = mix([(style, 2), (other_style, 0.5), (embedding, 1.5)])
    expected = model.stylize(resize(decode(PHOTO), 33), style, 1.3)
    np.testing.assert_array_equal(decode(response.content), expected)


def test_without_weights_all_styles_count_the_same(url, model):
    response = requests.post(
        f"{url}/api/stylize",
        files=[("photo", PHOTO), ("style", STYLE), ("style", OTHER_STYLE)],
    )
    style = mix([(model.embed(one, size=48), 1) for one in (STYLE, OTHER_STYLE)])
    np.testing.assert_array_equal(decode(response.content), model.stylize(PHOTO, style))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_formats(url, model, image_format):
    response = requests.post(
        f"{url}/api/stylize",
        files={"photo": PHOTO, "style": STYLE},
        data={"format": image_format},
    )
    assert response.headers["Content-Type"] == f"image/{image_format}"
    painted = model.stylize(PHOTO, model.embed(STYLE, size=48))
    assert response.content == encode(painted, image_format.upper())


def test_a_sideways_photo_is_painted_upright(url, model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "sideways.png"
    Image.fromarray(picture(40, 60)).save(path, exif=exif)
    response = requests.post(
        f"{url}/api/stylize", files={"photo": path.read_bytes(), "style": STYLE}
    )
    assert decode(response.content).shape == (60, 40, 3)


NUMBERS = json.dumps([0.5] * 100)
BAD_INPUT: dict[str, tuple[Any, dict[str, Any], str]] = {
    "photo missing": ({"style": STYLE}, {}, "photo: missing"),
    "photo as text": ({"style": STYLE}, {"photo": "cat.jpg"}, "photo: missing"),
    "style missing": ({"photo": PHOTO}, {}, "style: missing"),
    "photo empty": ({"photo": b"", "style": STYLE}, {}, "photo: This file is not"),
    "photo no image": (
        {"photo": b"my cat", "style": STYLE},
        {},
        "photo: This file is not an image that can be read; use JPEG",
    ),
    "style no image": ({"photo": PHOTO, "style": b"%PDF-1.7"}, {}, "style: This file"),
    "photo truncated": (
        {"photo": PHOTO[: len(PHOTO) // 2], "style": STYLE},
        {},
        "photo: This image is damaged or cut short",
    ),
    "photo a bomb": (
        {"photo": png_header(50_000, 50_000), "style": STYLE},
        {},
        "photo: This image is too large",
    ),
    "style a bomb": (
        {"photo": PHOTO, "style": png_header(9_000, 9_000)},
        {},
        "style: This image is too large (9000 x 9000)",
    ),
    "photo too small": (
        {"photo": encode(picture(19, 40)), "style": STYLE},
        {},
        "photo: its shorter side has 19 pixels; send `size`, from 20",
    ),
    "photo too large to paint": (
        {"photo": encode(np.zeros((2500, 2500, 3), np.uint8)), "style": STYLE},
        {},
        "photo: its shorter side has 2500 pixels; send `size`, from 20 to 2449",
    ),
    "style a strip": (
        {"photo": PHOTO, "style": encode(np.zeros((2, 500, 3), np.uint8))},
        {},
        "style: one side is more than 100 times the other (500 x 2)",
    ),
    "model unknown": (
        {"photo": PHOTO, "style": STYLE},
        {"model": "rembrandt"},
        "model: there is no 'rembrandt'; there are: untrained",
    ),
    "model a path": (
        {"photo": PHOTO, "style": STYLE},
        {"model": "../../etc/passwd"},
        "model: there is no '../../etc/passwd'",
    ),
    "weight NaN": ({"photo": PHOTO, "style": STYLE}, {"weight": "nan"}, "'nan'"),
    "weight infinite": ({"photo": PHOTO, "style": STYLE}, {"weight": "inf"}, "'inf'"),
    "weight negative": ({"photo": PHOTO, "style": STYLE}, {"weight": "-1"}, "'-1'"),
    "weight a word": ({"photo": PHOTO, "style": STYLE}, {"weight": "much"}, "'much'"),
    "weights all 0": (
        [("photo", PHOTO), ("style", STYLE), ("style", STYLE)],
        {"weight": ["0", "0.0"]},
        "weight: must be more than 0 for at least one style; received '0, 0.0'",
    ),
    "weights too few": (
        [("photo", PHOTO), ("style", STYLE), ("style", STYLE)],
        {"weight": "1"},
        "weight: 1 for 2 style files and 0 embeddings",
    ),
    "weights too many": (
        {"photo": PHOTO, "style": STYLE},
        {"weight": ["1", "1"]},
        "weight: 2 for 1 style files",
    ),
    "strength NaN": (
        {"photo": PHOTO, "style": STYLE},
        {"strength": "NaN"},
        "strength: must be a number from 0 to 2; received 'NaN'",
    ),
    "strength above 2": ({"photo": PHOTO, "style": STYLE}, {"strength": "2.1"}, "2.1"),
    "strength below 0": ({"photo": PHOTO, "style": STYLE}, {"strength": "-.1"}, "-.1"),
    "strength a word": ({"photo": PHOTO, "style": STYLE}, {"strength": ""}, "''"),
    "size too small": (
        {"photo": PHOTO, "style": STYLE},
        {"size": "19"},
        "size: must be the shorter side in pixels, from 20 to",
    ),
    "size too large": ({"photo": PHOTO, "style": STYLE}, {"size": "99999"}, "'99999'"),
    "size no number": ({"photo": PHOTO, "style": STYLE}, {"size": "big"}, "'big'"),
    "format unknown": (
        {"photo": PHOTO, "style": STYLE},
        {"format": "tiff"},
        "format: must be one of png, jpeg, webp; received 'tiff'",
    ),
    "embedding short": ({"photo": PHOTO}, {"embedding": "[1, 2]"}, "100 numbers"),
    "embedding no JSON": ({"photo": PHOTO}, {"embedding": "1, 2"}, "JSON array"),
    "embedding NaN": (
        {"photo": PHOTO},
        {"embedding": NUMBERS.replace("0.5", "NaN")},
        "JSON array",
    ),
    "embedding huge": (
        {"photo": PHOTO},
        {"embedding": NUMBERS.replace("0.5", "1e300")},
        "from -10000 to 10000",
    ),
    "embedding an object": ({"photo": PHOTO}, {"embedding": '{"a": 1}'}, "JSON array"),
    "embedding ragged": ({"photo": PHOTO}, {"embedding": "[[1], 2]"}, "JSON array"),
    "embedding nested": ({"photo": PHOTO}, {"embedding": "[" * 90_000}, "JSON array"),
    "a long value": (
        {"photo": PHOTO, "style": STYLE},
        {"format": "x" * 5000},
        "received '" + "x" * 80 + "…'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_to_stylize(url, case):
    files, data, message = BAD_INPUT[case]
    response = requests.post(f"{url}/api/stylize", files=files, data=data)
    detail = problem(response, 400)
    assert message in detail
    assert len(detail) < 400


@pytest.mark.parametrize(
    ("files", "data", "message"),
    [
        ({"photo": PHOTO}, {}, "image: missing"),
        ({"image": b"my cat"}, {}, "image: This file is not an image"),
        ({"image": STYLE[:200]}, {}, "image: This image is damaged"),
        ({"image": STYLE}, {"model": "?"}, "there are: untrained"),
        ({"image": STYLE}, {"scale": "2.1"}, "scale: must be a number from 0.5 to 2"),
        ({"image": STYLE}, {"scale": "0.4"}, "received '0.4'"),
        ({"image": STYLE}, {"scale": "NaN"}, "received 'NaN'"),
        ({"image": STYLE}, {"size": "19"}, "size: must be a number from 20 to 16383"),
        ({"image": STYLE}, {"size": "large"}, "received 'large'"),
    ],
)
def test_bad_input_to_embed(url, files, data, message):
    response = requests.post(f"{url}/api/embed", files=files, data=data)
    assert message in problem(response, 400)


def test_too_large_an_upload(url):
    noise = np.random.default_rng(0).bytes(5 * 2**20)
    response = requests.post(f"{url}/api/embed", files={"image": noise})
    assert "at most 4 MB" in problem(response, 413)


def test_too_many_fields(url):
    response = requests.post(
        f"{url}/api/stylize", files=[("photo", PHOTO)] + [("style", STYLE)] * 100
    )
    assert "in 100 parts" in problem(response, 413)


@pytest.mark.parametrize("endpoint", ["embed", "stylize"])
def test_wrong_content_type_and_method(url, endpoint):
    address = f"{url}/api/{endpoint}"
    response = requests.post(address, json={"photo": "cat.jpg"})
    assert "multipart/form-data" in problem(response, 415)
    response = requests.get(address)
    problem(response, 405)
    assert "POST" in response.headers["Allow"]
    # A form without a boundary has no fields.
    response = requests.post(
        address, data=b"?", headers={"Content-Type": "multipart/form-data"}
    )
    assert "missing" in problem(response, 400)


def test_a_new_version_is_used_and_a_damaged_model_tells_nothing(tmp_path):
    models = tmp_path / "models"
    publish(untrained_model(seed=1, version="000000000001"), models)
    client = create_app({"MODELS": models}).test_client()

    def embed():
        with (tmp_path / "style.png").open("rb") as file:
            return client.post("/api/embed", data={"image": file})

    (tmp_path / "style.png").write_bytes(STYLE)
    first = embed().json
    assert first["version"] == "000000000001"
    publish(untrained_model(seed=2, version="000000000002"), models)
    second = embed().json
    assert second["version"] == "000000000002"
    assert second["embedding"] != first["embedding"]
    publish(untrained_model(seed=2, version="000000000003"), models)
    (models / "untrained" / "predictor.weights.h5").write_bytes(b"broken")
    response = embed()
    assert response.status_code == 500
    assert response.content_type == "application/problem+json"
    assert str(tmp_path) not in response.text
    assert "Error" not in response.json["detail"]


def test_requests_at_the_same_time_do_not_mix(serve, models_folder, model):
    address = serve(MODELS=models_folder, MAX_JOBS=4)
    photos = [encode(picture(40 + index, 50, seed=index)) for index in range(8)]

    def stylize(photo: bytes) -> bytes:
        response = requests.post(
            f"{address}/api/stylize", files={"photo": photo, "style": STYLE}
        )
        assert response.status_code == 200, response.text
        return response.content

    with ThreadPoolExecutor(4) as pool:
        painted = list(pool.map(stylize, photos))
    for index, (photo, picture_) in enumerate(zip(photos, painted, strict=True)):
        expected = model.stylize(photo, model.embed(STYLE, size=40 + index))
        np.testing.assert_array_equal(decode(picture_), expected)


def test_a_busy_server_says_so_and_still_serves_the_page(serve, dist, models_folder):
    address = serve(DIST=dist, MODELS=models_folder, MAX_JOBS=1)
    large = encode(np.zeros((1000, 1000, 3), np.uint8))

    def paint() -> None:
        # An embedding that is being computed refuses the painting just as well.
        while (
            requests.post(
                f"{address}/api/stylize", files={"photo": large, "style": STYLE}
            ).status_code
            == 503
        ):
            pass

    painting = threading.Thread(target=paint)
    painting.start()
    try:
        while painting.is_alive():
            response = requests.post(f"{address}/api/embed", files={"image": STYLE})
            if response.status_code == 503:
                break
        assert "try again" in problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        assert requests.get(f"{address}/").status_code == 200
    finally:
        painting.join()
    response = requests.post(f"{address}/api/embed", files={"image": STYLE})
    assert response.status_code == 200


WRITES: list[str] | None = None


def note_writes(event: str, arguments: tuple) -> None:
    if event == "open" and WRITES is not None:
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            WRITES.append(str(path))


@pytest.fixture
def writes() -> Iterator[list[str]]:
    """Every file that this process opens for writing during the test."""
    global WRITES
    sys.addaudithook(note_writes)
    WRITES = []
    yield WRITES
    WRITES = None


def test_nothing_is_written_to_disk(url, writes, tmp_path):
    (tmp_path / "proof").write_text("the hook sees this")
    assert writes == [str(tmp_path / "proof")]
    writes.clear()
    # Noise does not compress: the photo and the painting have megabytes, which
    # Werkzeug and waitress would otherwise each spool to a temporary file.
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    photo = encode(noise)
    assert len(photo) > 2 * 2**20
    response = requests.post(
        f"{url}/api/stylize", files={"photo": photo, "style": STYLE}
    )
    assert response.status_code == 200
    assert len(response.content) > 2**20
    assert writes == []


# The command line


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def started(models_folder) -> Iterator[tuple[str, float]]:
    """A server process that answers: its address, and the processor seconds that
    this took, in which other work on the machine does not count."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "server.py"),
            *("--port", str(port), "--models", str(models_folder)),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{address}/")
                break
            except requests.ConnectionError:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
        user, system = Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]
        yield address, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    finally:
        process.terminate()
        process.wait(10)


def test_up_within_two_seconds_and_tensorflow_only_on_first_use(started, model):
    address, seconds = started
    assert seconds < 2.0
    health = requests.get(f"{address}/healthz").json()
    assert health == {"status": "ok", "tensorflow_loaded": False}
    response = requests.post(f"{address}/api/embed", files={"image": STYLE})
    np.testing.assert_array_equal(
        np.array(response.json()["embedding"], np.float32), model.embed(STYLE)
    )
    assert requests.get(f"{address}/healthz").json()["tensorflow_loaded"] is True


def failure(*arguments: str) -> str:
    """What `python server.py` says when it cannot start."""
    done = subprocess.run(
        [sys.executable, "server.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_command_line_errors(tmp_path):
    assert "there is no index.json in" in failure("--models", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot serve at 127.0.0.1:{port}" in failure("--port", str(port))
