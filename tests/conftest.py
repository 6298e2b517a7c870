"""What several test files share: an untrained model and a real server for it."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from browser import CHROMIUM_ARGUMENTS, DIST, MODELS, ROOT, Tab
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from waitress import wasyncore

from server import create_app, create_server
from sfumato.model import StyleModel
from sfumato.predictor import PredictorConfig
from sfumato.transformer import TransformerConfig

Serve = Callable[..., str]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A seeded smooth colour field, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angles, phases = random.uniform(0, 6.3, (2, 3))
    waves = [
        np.sin(9 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        for angle, phase in zip(angles, phases, strict=True)
    ]
    return np.rint(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def untrained_model(seed: int, version: str) -> StyleModel:
    """A small model with seeded random weights, in which the style matters.

    Fresh weights would not do: the style starts without any effect.
    """
    keras.utils.set_random_seed(seed)
    model = StyleModel(
        PredictorConfig(widths=(8, 16, 16)),
        TransformerConfig(widths=(8, 16, 16), residual_blocks=2),
        {"name": "untrained", "version": version, "licence": "MIT"},
    )
    random = np.random.default_rng(seed)
    for weight in model.transformer.weights:
        if weight.name in ("gamma_kernel", "beta_kernel"):
            weight.assign(random.normal(0, 0.2, weight.shape))
    return model


def publish(model: StyleModel, models: Path) -> None:
    """Puts a model into a folder of published models, as its only and default one."""
    name = model.manifest["name"]
    model.save(models / name)
    (models / "index.json").write_text(json.dumps({"default": name, "models": [name]}))


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Photos and paintings: seeded colour fields, distinct from each other."""
    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")
    for kind in ("content", "style"):
        (root / kind / "deeper").mkdir(parents=True)
        for index in range(6):
            field = random.integers(0, 256, (7, 9, 3), np.uint8)
            picture = Image.fromarray(field).resize((96, 80), Image.Resampling.BICUBIC)
            picture.save(root / kind / "deeper" / f"{index}.png")
    return root / "content", root / "style"


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory) -> Path:
    """A folder of published models that holds `untrained`."""
    folder = tmp_path_factory.mktemp("models")
    publish(untrained_model(seed=7, version="000000000007"), folder)
    return folder


@pytest.fixture(scope="session")
def model(models_folder) -> StyleModel:
    return StyleModel.load(models_folder / "untrained")


@contextmanager
def running(app: Flask, port: int = 0) -> Iterator[str]:
    """A real server for the application; gives its address. Port 0 is any free one."""
    server = create_server(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        # In the server's own thread: closing sockets under its select would raise.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(10)
        server.task_dispatcher.shutdown()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """serve(MODELS=folder, …) starts a real server with this configuration, as
    create_app takes it, and gives its address."""
    with ExitStack() as servers:
        yield lambda **config: servers.enter_context(running(create_app(config)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of evaluation pictures and peers' outputs, which is not part of the
    repository: SFUMATO_SHARED, or `shared` beside it."""
    folder = Path(os.environ.get("SFUMATO_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data: {folder} is not there (set SFUMATO_SHARED)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("These tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def default_model() -> StyleModel:
    """The published default model, as the server runs it."""
    name = json.loads((MODELS / "index.json").read_text())["default"]
    return StyleModel.load(MODELS / name)


@pytest.fixture(scope="session")
def site(serve: Serve) -> str:
    """The built page: web/dist, or the folder SFUMATO_DIST."""
    if not (DIST / "index.html").exists():
        pytest.fail("The page is not built: run npm ci and npm run build in web/.")
    return serve(DIST=DIST) + "/"


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    with chromium.new_context(service_workers="block") as context:
        tab = Tab(context.new_page())
        yield tab
        assert tab.complaints == []


@pytest.fixture(scope="module")
def engine_tab(chromium: Browser, site: str) -> Iterator[Tab]:
    """A page that stays open, for the tests that only call its engine."""
    with chromium.new_context(service_workers="block") as context:
        tab = Tab(context.new_page()).open(f"{site}?backend=wasm&size=64")
        yield tab
        assert tab.complaints == []
