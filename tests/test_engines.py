"""Everything that can paint: graphics card, processor, server; what each does when it
is missing, lost or full; and that none of it leaks or is large."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import (
    CHROMIUM_ARGUMENTS,
    GALLERY,
    TOLERANCES,
    WEB,
    Tab,
    as_picture,
    assert_close,
    sample,
)
from playwright.sync_api import Browser, BrowserType, Page, Response, Route

from export.parity import node_program
from sfumato.model import MOST_SEEN, StyleModel

# What a first visit may load, models and pictures apart, in bytes.
LARGEST_PAGE = 300_000
USE = """async (backend) => {
  const { backend: used, reason } = await sfumato.use(backend);
  return [used, reason];
}"""
# The error of a call, as "code: message".
REFUSED_USE = """(backend) => sfumato.use(backend).then(
  () => "", ({ code, message }) => `${code}: ${message}`)"""


@pytest.fixture
def loose_tab(chromium: Browser) -> Iterator[Tab]:
    """A page that may write to the console, as browsers do of their own accord when
    requests fail."""
    with chromium.new_context(service_workers="block") as context:
        yield Tab(context.new_page())


def test_server_paints_only_when_it_is_chosen(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    uploads: list[str] = []
    tab.page.on(
        "request",
        lambda request: (
            uploads.append(request.url) if request.method != "GET" else None
        ),
    )
    tab.open(f"{site}?backend=wasm&size=32")
    style, photo = sample("embers.jpg", 99, 120), sample("coffee.jpg", 40, 51)
    here = tab.stylize(photo, tab.embed(style))
    assert uploads == []

    backend, reason = tab.page.evaluate(USE, "server")
    assert backend == "server"
    assert "sent to this page's server" in reason
    embedding = tab.embed(style)
    assert_close(embedding, default_model.embed(style), (1e-6, 1e-6))
    there = tab.stylize(photo, embedding, 1.5)
    expected = default_model.stylize(photo, embedding, 1.5)
    assert (np.rint(there * 255) == expected).all()
    assert {url.rpartition("/")[2] for url in uploads} == {"embed", "stylize"}

    backend, _ = tab.page.evaluate(USE, "wasm")
    assert backend == "wasm"
    uploads.clear()
    assert (tab.stylize(photo, tab.embed(style)) == here).all()
    assert uploads == []
    assert len(tab.page.workers) == 1


def test_servers_errors_are_passed_on(loose_tab: Tab, site: str) -> None:
    loose_tab.open(f"{site}?backend=wasm&size=32")
    loose_tab.page.evaluate(USE, "server")
    message = loose_tab.page.evaluate(
        """() => sfumato.stylize(new ImageData(32, 32), new Float32Array(100).fill(2e4))
          .catch(({ code, message }) => `${code}: ${message}`)"""
    )
    assert message.startswith("input: The server says: embedding: must be a JSON array")


def test_without_a_server_the_engine_before_stays(loose_tab: Tab, site: str) -> None:
    """As on static hosting."""
    loose_tab.page.route("**/api/**", lambda route: route.fulfill(status=404))
    loose_tab.open(f"{site}?backend=wasm&size=32")
    refused = loose_tab.page.evaluate(REFUSED_USE, "server")
    assert refused == "network: This page's server does not paint (status 404)."
    photo = sample("chelsea.jpg", 32, 32)
    assert loose_tab.stylize(photo, loose_tab.embed(photo)).std() > 0.02
    assert loose_tab.page.evaluate("sfumato.memory()")["backend"] == "wasm"


def test_without_webgpu_the_engine_before_stays(loose_tab: Tab, site: str) -> None:
    loose_tab.page.add_init_script("delete Navigator.prototype.gpu")
    loose_tab.page.route(
        "**/worker-*.js",
        lambda route: prepend(route, "delete WorkerNavigator.prototype.gpu;"),
    )
    loose_tab.open(f"{site}?backend=wasm&size=32")
    refused = loose_tab.page.evaluate(REFUSED_USE, "webgpu")
    assert refused == (
        "crash: Nothing here can paint. WebGPU is missing in this browser."
    )
    photo = sample("chelsea.jpg", 32, 32)
    assert loose_tab.stylize(photo, loose_tab.embed(photo)).std() > 0.02


def test_webgpu_agrees_with_the_server(
    chromium: Browser, site: str, default_model: StyleModel
) -> None:
    with launch(
        chromium.browser_type,
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
    ) as browser:
        tab = Tab(browser.new_context(service_workers="block").new_page())
        tab.open(f"{site}?backend=wasm&size=32")
        backend, _ = tab.page.evaluate(USE, "webgpu")
        assert backend == "webgpu"
        photo = sample("coffee.jpg", 64, 51)
        embedding = default_model.embed(GALLERY / "embers.jpg")
        expected = default_model.stylize(photo, embedding) / 255
        assert expected.std() > 0.02
        assert_close(tab.stylize(photo, embedding), expected, TOLERANCES["float16"])
        assert tab.page.evaluate("sfumato.memory()")["backend"] == "webgpu"


# Collects the worker's contexts, to lose them as a driver's restart would.
SPY = """
self.contexts = [];
const original = OffscreenCanvas.prototype.getContext;
OffscreenCanvas.prototype.getContext = function (...options) {
  const context = original.apply(this, options);
  if (context?.isContextLost) self.contexts.push(context);
  return context;
};
self.lose = () => {
  for (const context of self.contexts)
    context.getExtension("WEBGL_lose_context")?.loseContext();
  self.contexts.length = 0;
};
"""
LOSE_WHEN_PAINTING = """
addEventListener("message", ({ data }) => { if (data.call === "stylize") lose(); });
"""


def test_lost_graphics_card_recovers(loose_tab: Tab, site: str) -> None:
    """Lost over one painting, and over another again and again."""
    tab = loose_tab
    spy = [SPY]
    tab.page.route("**/worker-*.js", lambda route: prepend(route, *spy))
    tab.open(f"{site}?backend=webgl&size=20")
    photo = sample("coffee.jpg", 20, 25)
    embedding = tab.embed(sample("embers.jpg", 64, 64))
    picture = tab.stylize(photo, embedding)
    assert picture.std() > 0.02

    tab.page.workers[0].evaluate(LOSE_WHEN_PAINTING)
    assert (tab.stylize(photo, embedding) == picture).all()
    assert len(tab.page.workers) == 1

    tab.page.workers[0].evaluate(LOSE_WHEN_PAINTING)
    spy.append(LOSE_WHEN_PAINTING)
    failed = tab.page.evaluate(
        """(numbers) =>
          sfumato.stylize(new ImageData(20, 20), test.embedding(numbers))
            .catch(({ code, message }) => `${code}: ${message}`)""",
        embedding.tolist(),
    )
    assert failed == "memory: The graphics card stopped answering."
    spy.remove(LOSE_WHEN_PAINTING)
    assert (tab.stylize(photo, embedding) == picture).all()
    assert tab.page.evaluate("sfumato.memory()")["backend"] == "webgl"


def test_a_card_of_small_textures_paints_all_the_same(
    loose_tab: Tab, site: str, default_model: StyleModel
) -> None:
    """Its convolutions cannot be unrolled; 512 x 512 texels hold all else."""
    small = """
    const parameter = WebGL2RenderingContext.prototype.getParameter;
    WebGL2RenderingContext.prototype.getParameter = function (name) {
      return name === this.MAX_TEXTURE_SIZE ? 512 : parameter.call(this, name);
    };
    self.widest = 0;
    const allocate = WebGL2RenderingContext.prototype.texStorage2D;
    WebGL2RenderingContext.prototype.texStorage2D = function (...options) {
      self.widest = Math.max(self.widest, options[3], options[4]);
      return allocate.apply(this, options);
    };
    """
    loose_tab.page.route("**/worker-*.js", lambda route: prepend(route, small))
    loose_tab.open(f"{site}?backend=webgl&size=20")
    embedding = default_model.embed(GALLERY / "embers.jpg")
    for height, width in ((20, 20), (88, 88), (88, 96)):
        photo = sample("coffee.jpg", height, width)
        expected = default_model.stylize(photo, embedding) / 255
        assert_close(
            loose_tab.stylize(photo, embedding), expected, TOLERANCES["float16"]
        )
    assert 256 < loose_tab.page.workers[0].evaluate("widest") <= 512


def test_full_memory_is_told_and_a_smaller_picture_painted(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    embedding = default_model.embed(GALLERY / "embers.jpg")
    photo = sample("coffee.jpg", 32, 32)
    expected = tab.stylize(photo, embedding)
    # Memory is never so short here that the browser refuses any.
    tab.page.workers[0].evaluate(
        """() => {
          WebAssembly.Memory.prototype.grow = () => { throw new RangeError("full"); };
        }"""
    )
    failed = tab.page.evaluate(
        """(numbers) =>
          sfumato.stylize(new ImageData(512, 512), test.embedding(numbers))
            .catch(({ code, message }) => `${code}: ${message}`)""",
        embedding.tolist(),
    )
    assert failed == "memory: There is not enough memory for a picture of this size."
    assert (tab.stylize(photo, embedding) == expected).all()


@pytest.mark.parametrize(
    "look", [{"scale": 0.5}, {"scale": 1.6}, {"size": 64}, {"scale": 1.25, "size": 700}]
)
def test_styles_are_looked_at_as_by_the_server(
    tab: Tab, site: str, default_model: StyleModel, look: dict[str, Any]
) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    style = sample("night-wind.jpg", 200, 240)
    expected = default_model.embed(style, **look)
    assert np.abs(expected - default_model.embed(style)).max() > 0.05
    for backend in ("wasm", "server"):
        tab.page.evaluate(USE, backend)
        embedding = embed_at(tab, style, look)
        assert_close(embedding, expected, TOLERANCES["float16"])


def test_a_strip_is_seen_no_larger_than_memory_allows(
    engine_tab: Tab, default_model: StyleModel
) -> None:
    strip = np.ascontiguousarray(sample("night-wind.jpg", 20, 384))
    look: dict[str, Any] = {"scale": 2.0, "size": 4096}
    height, width, _ = default_model.seen(strip, **look).shape
    assert 0.95 * MOST_SEEN < height * width < 1.05 * MOST_SEEN
    expected = default_model.embed(strip, **look)
    assert_close(embed_at(engine_tab, strip, look), expected, TOLERANCES["float16"])


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ("{ scale: 0.4 }", "The style scale must be from 0.5 to 2; received 0.4"),
        ("{ scale: 2.1 }", "The style scale must be from 0.5 to 2; received 2.1"),
        ("{ scale: NaN }", "The style scale must be from 0.5 to 2; received NaN"),
        ("{ size: 0 }", "The size must be at least 1 pixel; received 0"),
        ("{ size: NaN }", "The size must be at least 1 pixel; received NaN"),
    ],
)
def test_bad_looks_are_refused(engine_tab: Tab, look: str, message: str) -> None:
    refusal = engine_tab.page.evaluate(
        f"""() => sfumato.embed(new ImageData(20, 20), {look})
          .catch(({{ code, message }}) => `${{code}}: ${{message}}`)"""
    )
    assert refusal == f"input: {message}."


def test_a_thousand_repaints_leave_memory_flat(
    chromium: Browser, tab: Tab, site: str
) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    paint = """async (turns) => {
      const photos = [0, 1].map(() => {
        const photo = new ImageData(32, 35);
        crypto.getRandomValues(photo.data);
        return photo;
      });
      const style = await sfumato.embed(photos[0]);
      for (let turn = 0; turn < turns; turn++)
        await sfumato.stylize(photos[turn >> 3 & 1], style,
          { strength: turn % 3 / 2 });
      return sfumato.memory();
    }"""
    before = tab.page.evaluate(paint, 100)
    resident = renderers_memory(chromium, tab.page)
    after = tab.page.evaluate(paint, 1000)
    assert after == before
    # A repaint makes 0.06 MB of pictures and megabytes of features.
    growth = renderers_memory(chromium, tab.page) - resident
    print(f"1,000 repaints: the page's processes grow by {growth / 2**20:.1f} MB")
    assert growth < 20 * 2**20


@pytest.mark.parametrize("backend", [None, "webgl"])
def test_page_is_small(tab: Tab, site: str, backend: str | None) -> None:
    """All that a first visit loads, gzipped, without the model and the pictures."""
    responses: list[Response] = []
    tab.page.on("response", lambda response: responses.append(response))
    tab.open(site + ("?size=32" if backend is None else f"?backend={backend}&size=20"))
    sizes = {
        response.url: len(gzip.compress(response.body(), 9, mtime=0))
        for response in responses
        if not response.url.startswith((f"{site}models/", f"{site}gallery/"))
    }
    names = {url.rpartition("/")[2].partition(".")[2] for url in sizes}
    assert {"js", "css"} <= names
    assert any("worker-" in url for url in sizes)
    worker = tab.page.request.get(f"{site}sw.js").body()
    sizes[f"{site}sw.js"] = len(gzip.compress(worker, 9, mtime=0))
    total = sum(sizes.values())
    for url, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size:8,} {url.removeprefix(site) or 'the page'}")
    print(f"{total:8,} bytes of page code, gzipped, for {backend or 'a first visit'}")
    assert total <= LARGEST_PAGE


def test_colours_and_fade(engine: "Library") -> None:
    random = np.random.default_rng(0)
    photo, painted = random.integers(60, 190, (2, 5, 7, 3))
    kept = engine.pictures("keepColours(photo, painted)", photo, painted)
    luma = np.array([0.299, 0.587, 0.114])
    inside = ((kept > 0) & (kept < 255)).all(axis=-1)
    assert inside.sum() > 25
    assert np.abs((kept - painted)[inside] @ luma).max() < 1
    # Chroma: what is left of a colour without its luma.
    assert (np.ptp((kept - photo)[inside], axis=-1) <= 1).all()

    assert (engine.pictures("fade(photo, painted, 0)", photo, painted) == painted).all()
    assert (engine.pictures("fade(photo, painted, 1)", photo, painted) == photo).all()
    half = engine.pictures("fade(photo, painted, 0.5)", photo, painted)
    assert np.abs(half - (photo + painted) / 2).max() <= 0.5


def test_style_space_is_the_principal_components(engine: "Library") -> None:
    random = np.random.default_rng(1)
    styles = random.normal(0, 1, (9, 100)) @ np.diag(np.linspace(2, 0.1, 100)) + 3
    styles = styles.astype(np.float32)
    space = engine.run(
        """
        const styles = input.styles.map((style) => Float32Array.from(style));
        const space = principal(styles, 4);
        const numbers = (array) => Array.from(array);
        return {
          directions: space.directions.map(numbers),
          deviations: space.deviations,
          projected: styles.map((style) => project(space, style)),
          moved: numbers(moved(space, styles[0], [0, 2])),
          all: principal(styles, 50).directions.length,
          same: principal([styles[0], styles[0], styles[0]], 3).directions.length,
          alone: principal([styles[0]], 3).directions.length,
        };
        """,
        styles=styles.tolist(),
    )
    centred = styles - styles.mean(axis=0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(rows[np.arange(9), np.abs(rows).argmax(axis=1)])
    expected = rows[:4] * signs[:4, None]
    deviations = singular[:4] / np.sqrt(8)
    assert np.abs(np.array(space["directions"]) - expected).max() < 1e-5
    assert np.abs(np.array(space["deviations"]) - deviations).max() < 1e-5
    projected = centred @ expected.T / deviations
    assert np.abs(np.array(space["projected"]) - projected).max() < 1e-4
    moved = styles[0] + 2 * deviations[1] * expected[1]
    assert np.abs(np.array(space["moved"]) - moved).max() < 1e-5
    assert (space["all"], space["same"], space["alone"]) == (8, 0, 0)


class Library:
    """The engine's functions without the page, run by Node."""

    def __init__(self, module: Path):
        self._module = module

    def run(self, code: str, **given: Any) -> Any:
        script = f"""
          import * as library from {json.dumps(self._module.as_uri())};
          import {{ readFileSync }} from "node:fs";
          // Node has no pictures.
          globalThis.ImageData = class {{
            constructor(data) {{ this.data = data; }}
          }};
          const names = Object.keys(library);
          const input = JSON.parse(readFileSync(0, "utf8"));
          const result = new Function("input", ...names, {json.dumps(code)})(
            input, ...Object.values(library));
          process.stdout.write(JSON.stringify(result));
        """
        done = subprocess.run(
            [node_program(), "--input-type=module", "-e", script],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def pictures(self, code: str, photo: np.ndarray, painted: np.ndarray) -> np.ndarray:
        """The picture that `code` makes of the two, int [H, W, 3]."""
        height, width = photo.shape[:2]
        data = self.run(
            f"""
            const size = {{ width: {width}, height: {height} }};
            const photo = {{ ...size, data: Uint8ClampedArray.from(input.photo) }};
            const painted = {{ ...size, data: Uint8ClampedArray.from(input.painted) }};
            return Array.from({code}.data);
            """,
            photo=opaque(photo).ravel().tolist(),
            painted=opaque(painted).ravel().tolist(),
        )
        rgba = np.array(data).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        return rgba[..., :3]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("engine")
    entry = folder / "entry.ts"
    entry.write_text(
        "".join(
            f"export * from {json.dumps(str(WEB / 'src' / 'engine' / name))};\n"
            for name in ("embedding", "pixels", "projection")
        )
    )
    build = f"""
      import {{ build }} from "vite";
      await build({{
        configFile: false,
        logLevel: "warn",
        build: {{
          outDir: {json.dumps(str(folder))},
          emptyOutDir: false,
          copyPublicDir: false,
          lib: {{
            entry: {json.dumps(str(entry))},
            formats: ["es"],
            fileName: "engine",
          }},
        }},
      }});
    """
    subprocess.run(
        [node_program(), "--input-type=module", "-e", build], cwd=WEB, check=True
    )
    return Library(next(folder.glob("engine.*js")))


def opaque(image: np.ndarray) -> np.ndarray:
    return np.concatenate([image, np.full((*image.shape[:2], 1), 255)], axis=2)


def prepend(route: Route, *scripts: str) -> None:
    """Lets a script start with others."""
    response = route.fetch()
    route.fulfill(response=response, body="".join(scripts) + response.text())


def launch(kind: BrowserType, *arguments: str) -> Browser:
    """Another Chromium, with these arguments too."""
    return kind.launch(
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
        args=[*CHROMIUM_ARGUMENTS, *arguments],
    )


def embed_at(tab: Tab, style: np.ndarray, look: dict[str, Any]) -> np.ndarray:
    return np.array(
        tab.page.evaluate(
            """async ([picture, look]) =>
              Array.from(await sfumato.embed(test.picture(picture), look))""",
            [as_picture(style), look],
        ),
        np.float32,
    )


def renderers_memory(browser: Browser, page: Page) -> int:
    """Bytes of memory that the browser's pages hold, after a collection of garbage."""
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    return sum(
        resident(process["id"])
        for process in processes["processInfo"]
        if process["type"] == "renderer"
    )


def resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
