"""Drives the page in real Chromium; the fixtures for it are in conftest.py."""

import base64
import io
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from playwright.sync_api import FilePayload, Page

from sfumato.images import decode, to_float
from sfumato.model import StyleModel

ROOT = Path(__file__).parent.parent
WEB = ROOT / "web"
DIST = Path(os.environ.get("SFUMATO_DIST", WEB / "dist"))
MODELS = WEB / "public" / "models"
GALLERY = WEB / "public" / "gallery"
ARTEFACTS = ROOT / "tests" / "artefacts"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# The most that pixels and embeddings may differ from the server's: (max, mean).
TOLERANCES = {"float32": (1e-3, 1e-3), "float16": (8 / 255, 1 / 255)}

# Pictures and numbers travel to and from the page as base64.
HELPERS = """
window.test = {
  picture({ data, width, height }) {
    const bytes = Uint8ClampedArray.from(atob(data), (c) => c.charCodeAt(0));
    return new ImageData(bytes, width, height);
  },
  encode(array) {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let text = "";
    for (let start = 0; start < bytes.length; start += 0x8000)
      text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
    return btoa(text);
  },
  embedding: (numbers) => Float32Array.from(numbers),
};
"""


class Tab:
    """A page whose console must stay silent."""

    def __init__(self, page: Page):
        self.page = page
        self.complaints: list[str] = []
        page.add_init_script(HELPERS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                # The tests' own doing: it would answer in the server's place.
                and "Service Worker registration blocked" not in message.text
                else None
            ),
        )

    def open(self, address: str, state: str = "painted") -> "Tab":
        self.page.goto(address)
        self.wait_for(state)
        return self

    def wait_for(self, state: str, seconds: float = 240) -> None:
        self.page.wait_for_selector(f"html[data-state={state}]", timeout=seconds * 1000)

    def wait_until(self, condition: str, seconds: float = 60) -> None:
        """Until a JavaScript expression is true. Playwright's own wait_for_function
        evaluates text in the page, which the page's security policy forbids."""
        self.page.evaluate(
            f"""() => new Promise((resolve, reject) => {{
              const end = performance.now() + {seconds * 1000};
              const look = () => {{
                if ({condition}) resolve();
                else if (performance.now() > end) reject(new Error("It never was."));
                else requestAnimationFrame(look);
              }};
              look();
            }})"""
        )

    def canvas(self, name: str) -> np.ndarray:
        """The pixels of the canvas with this id, uint8 [H, W, 3]."""
        data = self.page.evaluate(
            """(id) => {
              const shown = document.getElementById(id);
              const { width, height } = shown;
              const canvas = new OffscreenCanvas(width, height);
              const context = canvas.getContext("2d");
              context.drawImage(shown, 0, 0);
              const { data } = context.getImageData(0, 0, width, height);
              return { width, height, data: test.encode(data) };
            }""",
            name,
        )
        pixels = np.frombuffer(base64.b64decode(data["data"]), np.uint8)
        return pixels.reshape(data["height"], data["width"], 4)[..., :3]

    def share(self, style: str) -> float:
        """A style's share of the mix, 0 to 1, as its range has it."""
        slider = self.page.get_by_role("slider", name=style, exact=True)
        return float(slider.input_value()) / 100

    def wait_for_picture(
        self, expected: np.ndarray, tolerance: tuple[float, float]
    ) -> None:
        """Waits until this is painted: [H, W, 3], 0 to 255."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.wait_for("painted")
            painted = self.canvas("painted")
            if is_close(painted / 255, expected / 255, tolerance):
                return
            self.page.wait_for_timeout(50)
        assert_close(painted / 255, expected / 255, tolerance)

    def on_pad(self, x: float, y: float) -> tuple[float, float]:
        """Where this point of the pad (0 to 1) is on the screen, in pixels."""
        pad = self.page.locator("#pad")
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def place(self, selector: str) -> tuple[float, float]:
        """Where something lies on the pad, 0 to 1."""
        x, y = self.page.locator(selector).evaluate(
            "(e) => [parseFloat(e.style.left) / 100, parseFloat(e.style.top) / 100]"
        )
        return x, y

    def embed(self, image: np.ndarray) -> np.ndarray:
        text = self.page.evaluate(
            "async (image) => test.encode(await sfumato.embed(test.picture(image)))",
            as_picture(image),
        )
        return np.frombuffer(base64.b64decode(text), np.float32)

    def mix(self, styles: list[tuple[np.ndarray, float]]) -> np.ndarray:
        text = self.page.evaluate(
            """(styles) => test.encode(sfumato.mix(
              styles.map(([style, weight]) => [test.embedding(style), weight])))""",
            [[embedding.tolist(), weight] for embedding, weight in styles],
        )
        return np.frombuffer(base64.b64decode(text), np.float32)

    def stylize(
        self, photo: np.ndarray, embedding: np.ndarray, strength: float = 1.0
    ) -> np.ndarray:
        """float32 [H, W, 3] in [0, 1]."""
        text = self.page.evaluate(
            """async ([photo, embedding, strength]) => test.encode(
              await sfumato.stylize(test.picture(photo), test.embedding(embedding),
                { strength, as: "float32" }))""",
            [as_picture(photo), embedding.tolist(), strength],
        )
        return np.frombuffer(base64.b64decode(text), np.float32).reshape(photo.shape)

    def wait_for_other_picture(self, before: np.ndarray) -> np.ndarray:
        """The next finished picture that is not `before`."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.wait_for("painted")
            after = self.canvas("painted")
            if after.shape != before.shape or (after != before).any():
                return after
            self.page.wait_for_timeout(50)
        raise AssertionError("The picture was not painted again within 60 s.")


def as_picture(image: np.ndarray) -> dict[str, Any]:
    height, width = image.shape[:2]
    opaque = np.full((height, width, 1), 255, np.uint8)
    data = np.concatenate([image, opaque], axis=2).tobytes()
    return {
        "width": width,
        "height": height,
        "data": base64.b64encode(data).decode(),
    }


def sample(
    name: str, height: int | None = None, width: int | None = None
) -> np.ndarray:
    """A picture of the gallery, or this much of it from the top left."""
    return np.ascontiguousarray(decode(GALLERY / name)[:height, :width])


def paint_on_server(
    model: StyleModel, photo: np.ndarray, embedding: np.ndarray
) -> np.ndarray:
    """The picture before it is rounded to bytes: float32 [H, W, 3]."""
    picture = model.transformer([to_float(photo)[None], embedding[None]])
    return keras.ops.convert_to_numpy(picture)[0]


def assert_close(
    actual: np.ndarray, expected: np.ndarray, tolerance: tuple[float, float]
) -> None:
    assert actual.shape == expected.shape
    error = np.abs(actual.astype(np.float64) - expected)
    assert error.max() <= tolerance[0]
    assert error.mean() <= tolerance[1]


def is_close(
    actual: np.ndarray, expected: np.ndarray, tolerance: tuple[float, float]
) -> bool:
    if actual.shape != expected.shape:
        return False
    error = np.abs(actual.astype(np.float64) - expected)
    return bool(error.max() <= tolerance[0] and error.mean() <= tolerance[1])


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def upload(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": data}
