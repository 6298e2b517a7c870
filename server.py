"""The web server: the page, the published models and the HTTP API.

`python server.py [--host HOST] [--port PORT] [--models DIR]`. TensorFlow is imported
when the API first needs it, so the page is up at once. Nothing is written to disk.
"""

import argparse
import gzip
import io
import json
import math
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np
import waitress
from flask import Flask, Request, Response, abort, request, send_from_directory
from waitress.server import BaseWSGIServer
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from whitenoise import WhiteNoise

from sfumato.images import ImageError, decode, encode, resize

if TYPE_CHECKING:
    from sfumato.model import StyleModel

WEB = Path(__file__).parent / "web"
DEFAULTS = {
    "DIST": WEB / "dist",
    "MODELS": WEB / "public" / "models",
    "GALLERY": WEB / "public" / "gallery",
    # One request's pictures together, encoded, in bytes.
    "MAX_CONTENT_LENGTH": 32 * 2**20,
    "MAX_FORM_PARTS": 100,
    # Of one painted picture. Painting takes about 0.4 KB of memory per pixel.
    "MAX_PAINTED_PIXELS": 6_000_000,
    # Requests that compute at the same time.
    "MAX_JOBS": 2,
}
# The longer a strip, the smaller it is seen: of one longer than this, too little.
MAX_ASPECT = 100
MAX_STRENGTH = 2.0
# How large styles are seen, beside the size that the model was trained with.
MIN_SCALE, MAX_SCALE = 0.5, 2.0
MAX_WEIGHT = 1e6
# Far beyond what a predictor gives, near enough that nothing overflows.
MAX_EMBEDDING = 1e4
FORMATS = ("png", "jpeg", "webp")
# The most that a WebP file can hold.
MAX_SIDE = 16_383
MANIFEST_SUMMARY = (
    "name",
    "version",
    "created",
    "title",
    "description",
    "precision",
    "download_bytes",
    "embedding_size",
    "style_size",
    "size_multiple",
    "min_size",
    "scores",
    "parity",
    "training",
    "data",
    "licence",
)
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REVALIDATE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"


class InMemoryRequest(Request):
    """Keeps uploads in memory, where Werkzeug would spool large ones to disk."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


class Models:
    """The published bundles in a folder, as its index.json lists them.

    The folder is read on every request, so that a newly published model or version
    is seen at once; networks stay loaded until their version changes.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._loaded: dict[str, StyleModel] = {}
        self._lock = threading.Lock()

    def index(self) -> dict[str, Any]:
        """{"default": name, "models": {name: card}}."""
        try:
            return json.loads((self.folder / "index.json").read_text())
        except FileNotFoundError:
            return {"default": None, "models": {}}

    def manifest(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name / "manifest.json").read_text())

    def version(self, name: str) -> str | None:
        """The version now published under this name, if it is a model's."""
        try:
            return self.manifest(name)["version"]
        except OSError:
            return None

    def get(self, name: str | None) -> "StyleModel":
        """A published model by its name, or the default one."""
        index = self.index()
        if not index["models"]:
            abort(503, "No model is published yet: run python export/convert.py.")
        name = name or index["default"]
        if name not in index["models"]:
            known = ", ".join(index["models"])
            abort(400, f"model: there is no {quoted(name)}; there are: {known}.")
        version = self.manifest(name)["version"]
        with self._lock:
            loaded = self._loaded.get(name)
            if loaded is None or loaded.manifest["version"] != version:
                from sfumato.model import StyleModel

                loaded = self._loaded[name] = StyleModel.load(self.folder / name)
        return loaded


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The WSGI application; `config` overrides DEFAULTS."""
    app = Flask(__name__, static_folder=None)
    app.request_class = InMemoryRequest
    app.config.from_mapping(DEFAULTS)
    app.config.from_mapping(config)
    models = Models(Path(app.config["MODELS"]))
    jobs = threading.BoundedSemaphore(app.config["MAX_JOBS"])
    page = WhiteNoise(
        app.wsgi_app,
        index_file=True,
        max_age=None,
        allow_all_origins=False,
        add_headers_function=add_page_headers,
    )
    if Path(app.config["DIST"]).is_dir():
        page.add_files(app.config["DIST"])
    app.wsgi_app = page  # type: ignore[method-assign]

    @contextmanager
    def job() -> Iterator[None]:
        if not jobs.acquire(blocking=False):
            raise ServiceUnavailable(
                f"The server is already working on {app.config['MAX_JOBS']} pictures; "
                "try again in a few seconds.",
                retry_after=5,
            )
        try:
            yield
        finally:
            jobs.release()

    @app.get("/")
    def page_missing() -> Response:
        """Reached only when the folder of the built page is not there."""
        return Response(
            "The page is not built yet. Run `make run`; or, with Node, in web/: "
            "`npm ci && npm run build`. Then start the server again.\n",
            503,
            mimetype="text/plain",
        )

    def public_file(folder: Path, path: str) -> Response:
        return send_from_directory(
            folder, path, mimetype=page.media_types.get_type(path)
        )

    @app.get("/models/<path:path>")
    def model_file(path: str) -> Response:
        response = public_file(app.config["MODELS"], path)
        if version := request.args.get("v"):
            # Looked at once the file is open: nobody knows a version before its files
            # are there, so these are its own or those of a later one. Those would be
            # kept for ever under this one's address.
            if version != models.version(path.partition("/")[0]):
                response.close()
                abort(404, "This version of the model was replaced. Reload the page.")
            response.headers["Cache-Control"] = IMMUTABLE
        return response

    @app.get("/gallery/<path:path>")
    def gallery_file(path: str) -> Response:
        return public_file(app.config["GALLERY"], path)

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "ok", "tensorflow_loaded": "tensorflow" in sys.modules}

    @app.get("/api/models")
    def list_models() -> dict[str, Any]:
        index = models.index()
        manifests = [models.manifest(name) for name in index["models"]]
        return {
            "default": index["default"],
            "models": [
                {key: manifest[key] for key in MANIFEST_SUMMARY if key in manifest}
                for manifest in manifests
            ],
        }

    @app.post("/api/embed")
    def embed() -> dict[str, Any]:
        """multipart: image; size, the shorter side in pixels of what is to be painted
        (default: style_size); scale, how large the image is seen, beside what suits
        that, 0.5 to 2 (default 1); model (default: the default model)."""
        with job():
            require_multipart()
            image = uploaded_image("image")
            scale = parsed_number(
                "scale", request.form.get("scale", "1"), MAX_SCALE, low=MIN_SCALE
            )
            model = models.get(request.form.get("model"))
            size = parsed_number(
                "size",
                request.form.get("size", str(model.manifest["style_size"])),
                MAX_SIDE,
                low=model.manifest["min_size"],
            )
            return {
                "embedding": model.embed(image, scale, round(size)).tolist(),
                "model": model.manifest["name"],
                "version": model.manifest["version"],
            }

    @app.post("/api/stylize")
    def stylize() -> Response:
        """multipart: photo; `style` images and `embedding` arrays (JSON), any number
        of each; weight, once for each style, then once for each embedding (default:
        all equal); strength, 0 to 2 (default 1); size, the shorter side in pixels
        (default: the photo's); format, png, jpeg or webp (default png); model."""
        with job():
            require_multipart()
            strength = parsed_number(
                "strength", request.form.get("strength", "1"), MAX_STRENGTH
            )
            image_format = request.form.get("format", "png")
            if image_format not in FORMATS:
                refuse("format", f"one of {', '.join(FORMATS)}", image_format)
            weights = style_weights()
            model = models.get(request.form.get("model"))
            photo = fit(
                uploaded_image("photo"),
                smallest=model.manifest["min_size"],
                pixels=app.config["MAX_PAINTED_PIXELS"],
            )
            style = mixed_style(model, weights, min(photo.shape[:2]))
            picture = model.stylize(photo, style, strength)
            return Response(
                encode(picture, image_format.upper()),
                mimetype=f"image/{image_format}",
                headers={
                    "X-Model": model.manifest["name"],
                    "X-Model-Version": model.manifest["version"],
                },
            )

    @app.errorhandler(HTTPException)
    def problem(error: HTTPException) -> Response:
        """Every error as RFC 9457 problem details."""
        details = {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": error.description,
        }
        # The error's own headers: Allow, Retry-After.
        headers = dict(error.get_headers()) | {
            "Content-Type": "application/problem+json"
        }
        return Response(json.dumps(details), error.code, headers)

    @app.errorhandler(413)
    def too_large(error: HTTPException) -> Response:
        limit = app.config["MAX_CONTENT_LENGTH"] / 2**20
        error.description = (
            f"The upload is too large: at most {limit:g} MB in "
            f"{app.config['MAX_FORM_PARTS']} parts. Send smaller pictures."
        )
        return problem(error)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        response.headers.setdefault("Cache-Control", REVALIDATE)
        if response.mimetype == "application/json":
            compress(response)
        return response

    return app


def add_page_headers(headers: Any, path: str, url: str) -> None:
    # Vite puts a hash of the contents into the names of everything in assets/.
    immutable = url.startswith("/assets/")
    headers["Cache-Control"] = IMMUTABLE if immutable else REVALIDATE
    for name, value in SECURITY_HEADERS.items():
        headers[name] = value


def compress(response: Response) -> None:
    """Graphs are large as JSON; being few, they are compressed as they are sent."""
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or not request.accept_encodings["gzip"]:
        return
    response.direct_passthrough = False
    response.data = gzip.compress(response.data)
    response.content_encoding = "gzip"
    etag, _ = response.get_etag()
    if etag is not None:
        response.set_etag(etag, weak=True)


def require_multipart() -> None:
    if request.mimetype != "multipart/form-data":
        abort(415, "Send the fields as multipart/form-data, pictures as files in it.")


def refuse(field: str, expected: str, received: str) -> NoReturn:
    abort(400, f"{field}: must be {expected}; received {quoted(received)}.")


def quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def parsed_number(field: str, text: str, high: float, low: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Written so that NaN is refused too.
    if not low <= value <= high:
        refuse(field, f"a number from {low:g} to {high:g}", text)
    return value


def uploaded_image(field: str) -> np.ndarray:
    """The picture in a file field, decoded: uint8 [H, W, 3]."""
    if field not in request.files:
        abort(400, f"{field}: missing; send a picture as a file field of this name.")
    return decoded(field, request.files[field])


def decoded(field: str, upload: FileStorage) -> np.ndarray:
    try:
        image = decode(upload.read())
    except ImageError as error:
        abort(400, f"{field}: {error}")
    height, width = image.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        abort(
            400,
            f"{field}: one side is more than {MAX_ASPECT} times the other "
            f"({width} x {height}). Crop it first.",
        )
    return image


def fit(photo: np.ndarray, *, smallest: int, pixels: int) -> np.ndarray:
    """The photo at the requested size, if it can be painted at that."""
    short, long = sorted(photo.shape[:2])
    # What each limit leaves for the shorter side.
    largest = int(min(math.sqrt(pixels * short / long), MAX_SIDE * short / long))
    text = request.form.get("size")
    if text is None:
        if not smallest <= short <= largest:
            abort(
                400,
                f"photo: its shorter side has {short} pixels; send `size`, "
                f"from {smallest} to {largest}, to have it scaled.",
            )
        return photo
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not smallest <= size <= largest:
        refuse(
            "size",
            f"the shorter side in pixels, from {smallest} to {largest} for this photo",
            text,
        )
    return resize(photo, size)


def style_weights() -> list[float]:
    """The weight of each style file, then of each embedding."""
    styles = len(request.files.getlist("style"))
    embeddings = len(request.form.getlist("embedding"))
    if styles + embeddings == 0:
        abort(400, "style: missing; send at least one `style` file or `embedding`.")
    texts = request.form.getlist("weight")
    if texts and len(texts) != styles + embeddings:
        abort(
            400,
            f"weight: {len(texts)} for {styles} style files and {embeddings} "
            "embeddings; send one for each, in this order, or none at all.",
        )
    weights = [parsed_number("weight", text, MAX_WEIGHT) for text in texts]
    if weights and not any(weights):
        refuse("weight", "more than 0 for at least one style", ", ".join(texts))
    return weights or [1.0] * (styles + embeddings)


def mixed_style(model: "StyleModel", weights: list[float], size: int) -> np.ndarray:
    from sfumato.model import mix

    embeddings = [
        model.embed(decoded("style", upload), size=size)
        for upload in request.files.getlist("style")
    ]
    numbers = model.manifest["embedding_size"]
    embeddings += [
        parsed_embedding(text, numbers) for text in request.form.getlist("embedding")
    ]
    return mix(zip(embeddings, weights, strict=True))


def parsed_embedding(text: str, size: int) -> np.ndarray:
    try:
        embedding = np.asarray(json.loads(text), np.float64)
        # Written so that NaN is refused too.
        if embedding.shape == (size,) and (abs(embedding) <= MAX_EMBEDDING).all():
            return embedding.astype(np.float32)
    # json gives up on deep nesting with a RecursionError.
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    refuse(
        "embedding",
        f"a JSON array of {size} numbers from {-MAX_EMBEDDING:g} to {MAX_EMBEDDING:g}",
        text,
    )


def create_server(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """A waitress server that is bound and, once `run` is called, serves."""
    return waitress.create_server(
        app,
        host=host,
        port=port,
        # Painting holds a thread for seconds; the others keep serving the page.
        threads=app.config["MAX_JOBS"] + 6,
        # Up to here the app itself refuses an upload and says why.
        max_request_body_size=2 * app.config["MAX_CONTENT_LENGTH"],
        # More than any request or answer: they stay in memory, off the disk.
        inbuf_overflow=2**31,
        outbuf_overflow=2**31,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Serves the page and the API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="folder of published models (default: web/public/models)",
    )
    options = parser.parse_args(arguments)
    config = {}
    if options.models is not None:
        if not (options.models / "index.json").is_file():
            parser.error(f"--models: there is no index.json in {options.models}")
        config["MODELS"] = options.models.resolve()
    app = create_app(config)
    try:
        server = create_server(app, options.host, options.port)
    except OSError as error:
        parser.error(
            f"cannot serve at {options.host}:{options.port} ({error.strerror}); "
            "choose another with --host or --port"
        )
    print(f"Sfumato is at http://{options.host}:{options.port}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
