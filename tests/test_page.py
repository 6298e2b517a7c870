"""The page in real Chromium: it paints, agrees with the server and leaks nothing."""

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from browser import (
    DIST,
    GALLERY,
    MODELS,
    TOLERANCES,
    Tab,
    assert_close,
    paint_on_server,
    png,
    sample,
    upload,
)
from conftest import Serve
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from export.convert import publish
from sfumato.images import resize
from sfumato.model import StyleModel, mix


@pytest.fixture(scope="module")
def float32_site(
    site: str,
    serve: Serve,
    default_model: StyleModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The default model again, its weights not quantised."""
    models = tmp_path_factory.mktemp("unquantised")
    publish(default_model, "unquantised", "float32", models)
    return serve(MODELS=models, DIST=DIST) + "/"


@pytest.mark.parametrize(("backend", "size"), [("webgl", 64), ("wasm", 256)])
def test_first_visit_paints_a_sample(
    tab: Tab, site: str, default_model: StyleModel, backend: str, size: int
) -> None:
    tab.open(f"{site}?backend={backend}&size={size}")
    photo, painted = tab.canvas("photo"), tab.canvas("painted")
    assert min(photo.shape[:2]) == size
    assert painted.shape == photo.shape
    assert painted.std(axis=(0, 1)).max() > 10
    assert np.abs(painted.astype(int) - photo).mean() > 10
    assert tab.page.evaluate("sfumato.memory()")["backend"] == backend
    name = {"webgl": "WebGL", "wasm": "WebAssembly"}[backend]
    expect(tab.page.locator("#engine")).to_contain_text(f"Painted by {name}.")

    samples = json.loads((GALLERY / "gallery.json").read_text())
    styles = [sample for sample in samples if sample["kind"] == "style"][:3]
    shares = [tab.share(style["title"]) for style in styles]
    assert min(shares) > 0.05
    assert sum(shares) == pytest.approx(1)
    embeddings = [
        default_model.embed(GALLERY / style["file"], size=size) for style in styles
    ]
    mixed = mix(list(zip(embeddings, shares, strict=True)))
    expected = default_model.stylize(photo, mixed)
    max_error, mean_error = TOLERANCES["float16"]
    assert_close(painted / 255, expected / 255, (max_error, mean_error))


@pytest.mark.parametrize(
    ("backend", "side", "precision"),
    [("wasm", 256, "float32"), ("wasm", 256, "float16"), ("webgl", 64, "float32")],
)
def test_browser_agrees_with_server(
    request: pytest.FixtureRequest,
    tab: Tab,
    default_model: StyleModel,
    backend: str,
    side: int,
    precision: str,
) -> None:
    site = request.getfixturevalue("site" if precision == "float16" else "float32_site")
    tab.open(f"{site}?backend={backend}&size=32")
    style = resize(sample("stained-glass.jpg"), 256)
    photo = sample("coffee.jpg", side, side - 13)
    tolerance = TOLERANCES[precision]

    embedding = default_model.embed(style)
    assert_close(tab.embed(style), embedding, tolerance)
    expected = paint_on_server(default_model, photo, embedding)
    assert expected.std() > 0.02
    assert_close(tab.stylize(photo, embedding), expected, tolerance)


@pytest.mark.parametrize(
    ("name", "height"), [("night-wind.jpg", 384), ("rocket.jpg", 99)]
)
def test_large_and_small_styles_are_scaled_as_on_the_server(
    tab: Tab, float32_site: str, default_model: StyleModel, name: str, height: int
) -> None:
    tab.open(f"{float32_site}?backend=wasm&size=20")
    style = sample(name, height)
    expected = default_model.embed(style)
    # What another way of scaling would give.
    scaled = Image.fromarray(style).resize(
        resize(style, 256).shape[1::-1], Image.Resampling.NEAREST
    )
    tolerance = np.abs(default_model.embed(scaled) - expected).max() / 5
    assert_close(tab.embed(style), expected, (tolerance, tolerance))


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.5])
def test_strength_is_the_servers(
    engine_tab: Tab, default_model: StyleModel, strength: float
) -> None:
    photo = sample("astronaut.jpg", 120, 90)
    embedding = default_model.embed(GALLERY / "embers.jpg")
    expected = default_model.stylize(photo, embedding, strength)
    plain = default_model.stylize(photo, embedding)
    assert np.abs(expected.astype(int) - plain).max() > 8
    actual = engine_tab.stylize(photo, embedding, strength)
    assert_close(actual, expected / 255, TOLERANCES["float16"])


def test_mix_is_the_servers(engine_tab: Tab, default_model: StyleModel) -> None:
    photo = sample("coffee.jpg", 128, 128)
    styles = [
        (default_model.embed(GALLERY / name), weight)
        for name, weight in (("embers.jpg", 3.0), ("ink-hills.jpg", 1.0))
    ]
    expected = mix(styles)
    mixed = engine_tab.mix(styles)
    assert_close(mixed, expected, (1e-6, 1e-6))
    picture = default_model.stylize(photo, expected)
    for embedding, _ in styles:
        alone = default_model.stylize(photo, embedding)
        assert np.abs(alone.astype(int) - picture).max() > 8
    painted = engine_tab.stylize(photo, mixed)
    assert_close(painted, picture / 255, TOLERANCES["float16"])


@pytest.mark.parametrize("weights", [[0, 0], [-1, 2], [float("nan"), 1], []])
def test_bad_weights_are_refused(engine_tab: Tab, weights: list[float]) -> None:
    message = engine_tab.page.evaluate(
        """(weights) => {
          try {
            sfumato.mix(weights.map((weight) => [new Float32Array(100), weight]));
          } catch (error) { return `${error.name}: ${error.message}`; }
        }""",
        weights,
    )
    assert message.startswith("RangeError: Style weights must be finite")


@pytest.mark.parametrize("shape", [(20, 20), (21, 31), (33, 50), (23, 64)])
def test_any_size_is_kept(
    engine_tab: Tab, default_model: StyleModel, shape: tuple[int, int]
) -> None:
    photo = sample("chelsea.jpg", *shape)
    embedding = default_model.embed(GALLERY / "woodcut.jpg")
    expected = paint_on_server(default_model, photo, embedding)
    assert_close(engine_tab.stylize(photo, embedding), expected, TOLERANCES["float16"])


def test_bad_calls_are_explained(engine_tab: Tab) -> None:
    messages = engine_tab.page.evaluate(
        """async () => {
          const said = [];
          const photo = new ImageData(20, 20);
          for (const call of [
            () => sfumato.stylize(new ImageData(40, 19), new Float32Array(100)),
            () => sfumato.stylize(photo, new Float32Array(99)),
            () => sfumato.stylize(photo, new Float32Array(100).fill(NaN)),
            () => sfumato.stylize(photo, new Float32Array(100), { strength: NaN }),
          ]) {
            await call().catch(({ code, message }) => said.push(`${code}: ${message}`));
          }
          return said;
        }"""
    )
    assert messages == [
        "input: The photo has 40 × 19 pixels; each side needs at least 20.",
        "input: An embedding has 100 numbers; this one has 99.",
        "input: The strength and the embedding must be finite numbers.",
        "input: The strength and the embedding must be finite numbers.",
    ]


@pytest.mark.parametrize(("backend", "side"), [("wasm", 48), ("webgl", 20)])
def test_fifty_repaints_leave_no_tensors(
    tab: Tab, site: str, backend: str, side: int
) -> None:
    tab.open(f"{site}?backend={backend}&size={side}")
    before, after = tab.page.evaluate(
        """async (side) => {
          const photos = [0, 1].map(() => {
            const photo = new ImageData(side, side + 3);
            crypto.getRandomValues(photo.data);
            return photo;
          });
          const style = await sfumato.embed(photos[0]);
          const paint = (turn) => sfumato.stylize(photos[turn >> 3 & 1], style,
            { strength: turn % 3 / 2 });
          await paint(1);
          const before = await sfumato.memory();
          for (let turn = 0; turn < 50; turn++) await paint(turn);
          await paint(1);
          return [before, await sfumato.memory()];
        }""",
        side,
    )
    assert before["tensors"] > 0
    assert after == before


def test_loading_again_leaves_no_tensors(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    folder = (
        site + "models/" + json.loads((MODELS / "index.json").read_text())["default"]
    )
    before, after = tab.page.evaluate(
        """async (folder) => {
          await sfumato.load(folder);
          const before = await sfumato.memory();
          await sfumato.load(folder);
          return [before, await sfumato.memory()];
        }""",
        folder,
    )
    assert before["tensors"] > 0
    assert after == before


def test_the_newest_painting_takes_the_place_of_those_that_wait(
    engine_tab: Tab,
) -> None:
    outcomes = engine_tab.page.evaluate(
        """async () => {
          const photo = new ImageData(64, 64);
          const calls = [1, 2, 3, 4].map((value) =>
            sfumato.stylize(photo, new Float32Array(100).fill(value / 10)));
          const cancelled = new AbortController();
          calls.push(sfumato.stylize(photo, new Float32Array(100), cancelled));
          cancelled.abort();
          return (await Promise.allSettled(calls)).map(
            ({ value, reason }) => value ? value.width : reason.name);
        }"""
    )
    assert outcomes == [64, "AbortError", "AbortError", "AbortError", "AbortError"]


def test_a_running_painting_can_be_cancelled(engine_tab: Tab) -> None:
    outcome = engine_tab.page.evaluate(
        """async () => {
          const controller = new AbortController();
          const painting = sfumato.stylize(new ImageData(64, 64),
            new Float32Array(100), { signal: controller.signal });
          await new Promise((resolve) => setTimeout(resolve));
          controller.abort();
          const cancelled = await painting.catch((error) => error.name);
          const next = await sfumato.stylize(new ImageData(64, 64),
            new Float32Array(100));
          return [cancelled, next.width];
        }"""
    )
    assert outcome == ["AbortError", 64]


def test_own_files(tab: Tab, site: str) -> None:
    """A photo by file, one style by file and one by drop; the mix in words."""
    tab.open(f"{site}?backend=wasm&size=64")
    page = tab.page
    for style in ("Stained glass", "Ink hills"):
        page.get_by_role("button", name=f"Remove {style}").click()
    expect(page.locator("#caption strong")).to_have_text(
        "Night wind 100 %", timeout=60_000
    )
    before = tab.canvas("painted")
    page.set_input_files(
        "#photo-file", upload("A boat.png", png(sample("nagasaki-boats.jpg", 200, 150)))
    )
    after = tab.wait_for_other_picture(before)
    assert after.shape == (85, 64, 3)

    page.set_input_files(
        "#style-files", upload("First.png", png(sample("embers.jpg", 90, 90)))
    )
    page.evaluate(
        """(picture) => {
          const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          const type = "image/png";
          dataTransfer.items.add(new File([bytes], "Second.png", { type }));
          document.getElementById("styles-zone").dispatchEvent(
            new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(png(sample("crayon.jpg", 90, 90))).decode(),
    )
    expect(page.locator("#caption strong")).to_have_text(
        "Night wind 34 %, First 33 %, Second 33 %", timeout=60_000
    )
    page.get_by_role("button", name="Remove Night wind").click()
    expect(page.locator("#caption strong")).to_have_text(
        "First 50 %, Second 50 %", timeout=60_000
    )
    alt = page.locator("#painted").get_attribute("aria-label")
    assert alt == "A boat, painted: First 50 %, Second 50 %"


def test_pasted_photo_is_upright_and_opaque(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    # Stored lying on its side, to be turned a quarter clockwise.
    upright = Image.new("RGB", (32, 48), "red")
    upright.paste("blue", (0, 24, 32, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(
        turned, "JPEG", quality=95, exif=exif
    )
    clear = io.BytesIO()
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(clear, "PNG")

    def paste(kind: str, data: bytes) -> np.ndarray:
        before = tab.canvas("photo")
        tab.page.evaluate(
            """([picture, type]) => {
              const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
              const clipboardData = new DataTransfer();
              clipboardData.items.add(new File([bytes], "image", { type }));
              document.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData, cancelable: true }));
            }""",
            [base64.b64encode(data).decode(), kind],
        )
        expect(tab.page.locator("#photo")).to_have_attribute("aria-label", "image")
        deadline = time.monotonic() + 30
        while (after := tab.canvas("photo")).shape == before.shape:
            assert time.monotonic() < deadline
            tab.page.wait_for_timeout(20)
        tab.wait_for("painted")
        return after

    photo = paste("image/jpeg", turned.getvalue())
    assert photo.shape == (48, 32, 3)
    assert np.abs(photo[4, 16].astype(int) - [254, 0, 0]).max() < 8
    assert np.abs(photo[44, 16].astype(int) - [0, 0, 254]).max() < 8
    photo = paste("image/png", clear.getvalue())
    assert photo.shape[0] == photo.shape[1]
    assert (photo == 255).all()


@pytest.mark.parametrize("target", ["#photo-file", "#style-files"])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.png", b"not a picture", "“notes.png” is not an image that this"),
        ("cut.png", png(np.zeros((64, 64, 3), np.uint8))[:60], "“cut.png” is not an"),
        ("strip.png", png(np.zeros((3, 400, 3), np.uint8)), "is too narrow (400 × 3)"),
    ],
)
def test_bad_file_is_explained_and_the_picture_stays(
    tab: Tab, site: str, target: str, name: str, data: bytes, message: str
) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    before = tab.canvas("painted")
    tab.page.set_input_files(target, upload(name, data))
    expect(tab.page.get_by_role("alert")).to_contain_text(message)
    assert (tab.canvas("painted") == before).all()
    assert tab.page.get_attribute("html", "data-state") == "painted"
    tab.page.get_by_role("button", name="Dismiss").click()
    expect(tab.page.get_by_role("alert")).to_be_empty()


def test_tiny_photo_is_explained_and_the_picture_stays(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    before = tab.canvas("painted")
    tiny = png(np.zeros((19, 40, 3), np.uint8))
    tab.page.set_input_files("#photo-file", upload("tiny.png", tiny))
    expect(tab.page.get_by_role("alert")).to_contain_text("40 × 19 pixels; each side")
    assert (tab.canvas("painted") == before).all()


def test_sliders_work_by_keyboard(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=64")
    page = tab.page
    picture = tab.canvas("painted")

    strength = page.get_by_role("slider", name="Strength")
    strength.focus()
    page.keyboard.press("Home")
    expect(strength).to_have_attribute("aria-valuetext", "0 %")
    picture = tab.wait_for_other_picture(picture)
    page.keyboard.press("End")
    expect(page.locator("#strength-value")).to_have_text("150 %")
    picture = tab.wait_for_other_picture(picture)

    page.get_by_role("button", name="Embers").press("Enter")
    picture = tab.wait_for_other_picture(picture)
    slider = page.get_by_role("slider", name="Embers")
    expect(slider).to_have_attribute("aria-valuetext", "25 %")
    slider.focus()
    page.keyboard.press("PageDown")
    tab.wait_for_other_picture(picture)
    expect(slider).to_have_attribute("aria-valuetext", "15 %")

    compare = page.get_by_role("slider", name="Before and after")
    compare.focus()
    page.keyboard.press("End")
    expect(compare).to_have_attribute("aria-valuetext", "100 % photo")
    clip = page.locator("#painted-layer").evaluate(
        "(e) => getComputedStyle(e).clipPath"
    )
    assert clip == "inset(0px 0px 0px 100%)"


def test_everything_is_reached_by_keyboard_and_named(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    tab.page.locator("body").press("Tab")
    seen = []
    while (tag := tab.page.evaluate("document.activeElement.tagName")) != "BODY":
        focused = tab.page.locator("*:focus")
        seen.append(f"{tag} {focused.aria_snapshot().splitlines()[0]}")
        assert len(seen) < 120, "the keyboard is trapped"
        tab.page.keyboard.press("Tab")
    # Role, then the accessible name in quotes.
    assert [
        entry for entry in seen if '"' not in entry and "SUMMARY" not in entry
    ] == []
    everything = "\n".join(seen)
    for name in (
        "Before and after",
        "Zoom in",
        "Choose a photo",
        "Download PNG",
        "Mix, from left to right",
        "Night wind, 71 %",
        "Share of Night wind, percent",
        "Lock Night wind",
        "Remove Night wind",
        "Add your own styles",
        "Add a folder as one style",
        "Embers",
        "Strength",
        "Fade to photo",
        "Style scale",
        "Keep the photo’s colours",
        "Size",
        "Engine",
    ):
        assert f'"{name}' in everything


def test_download_is_the_painted_picture(tab: Tab, site: str, tmp_path: Path) -> None:
    tab.open(f"{site}?backend=wasm&size=64")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Download PNG").click()
    assert download.value.suggested_filename.startswith("sfumato-")
    download.value.save_as(tmp_path / "painted.png")
    with Image.open(tmp_path / "painted.png") as image:
        assert image.format == "PNG"
        assert (np.asarray(image.convert("RGB")) == tab.canvas("painted")).all()


def test_loading_shows_megabytes_and_can_be_cancelled(tab: Tab, site: str) -> None:
    page = tab.page
    held: list[Route] = []
    page.route("**/decoder/*.bin*", lambda route: held.append(route))
    page.goto(f"{site}?backend=wasm&size=32")
    page.wait_for_selector("text=/Downloading the model: [0-9.]+ of [0-9.]+ MB/")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled.")
    page.unroute("**/decoder/*.bin*")
    page.get_by_role("button", name="Load the model").click()
    tab.wait_for("painted")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(
    ("missing", "message", "action"),
    [
        ("**/decoder/*.bin*", "could not be downloaded (status 503)", "Load the model"),
        ("**/index.json", "The list of models could not be downl", "Load the model"),
        ("**/*.wasm", "Nothing here can paint. WebAssembly", "Load the model"),
        ("**/worker-*.js", "The painter could not be started", "Load the model"),
    ],
)
def test_failed_download_is_explained_and_can_be_tried_again(
    chromium: Browser, site: str, missing: str, message: str, action: str
) -> None:
    # The browser itself writes failed requests to the console.
    with chromium.new_context(service_workers="block") as context:
        tab = Tab(context.new_page())
        tab.page.route(missing, lambda route: route.fulfill(status=503))
        tab.open(f"{site}?backend=wasm&size=32", state="error")
        expect(tab.page.get_by_role("alert")).to_contain_text(message)
        tab.page.unroute(missing)
        tab.page.get_by_role("button", name=action).click()
        tab.wait_for("painted")


def test_unknown_model_is_explained(tab: Tab, site: str) -> None:
    tab.open(f"{site}?model=nobody", state="error")
    expect(tab.page.get_by_role("alert")).to_contain_text("There is no model “nobody”")


def test_software_webgl_gives_way_to_wasm(tab: Tab, site: str) -> None:
    """What a machine without a graphics card gets, and is told."""
    tab.open(f"{site}?size=32")
    assert tab.page.evaluate("sfumato.memory()")["backend"] == "wasm"
    expect(tab.page.locator("#engine")).to_have_text(
        "Painted by WebAssembly. "
        "WebGL has no graphics card to run on and would be slow."
    )
