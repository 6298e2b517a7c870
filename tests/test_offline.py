"""Work without the network, on this project's server and on static hosting (see
test_site.py too)."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import DIST, GALLERY, MODELS, Tab
from conftest import running
from flask import request
from playwright.sync_api import Browser, expect

from export import published
from export.site import write_site
from server import create_app

READY = "Ready to work offline."
NEWS = "There is a new version of this page."
SETTINGS = "?backend=wasm&size=32"


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Tab]:
    """A page that may have a service worker."""
    with chromium.new_context() as context:
        tab = Tab(context.new_page())
        yield tab
        assert tab.complaints == []


def test_after_the_first_visit_no_server_is_needed(visitor: Tab) -> None:
    page = visitor.page
    app = create_app({"DIST": DIST})
    with running(app) as address:
        visitor.open(f"{address}/{SETTINGS}")
        expect(page.get_by_text(READY)).to_be_visible(timeout=60_000)
        painted = visitor.canvas("painted")
    port = int(address.rpartition(":")[2])

    visitor.open(f"{address}/{SETTINGS}")
    assert page.evaluate("fetch('./healthz').then(() => 'up', () => 'down')") == "down"
    assert (visitor.canvas("painted") == painted).all()
    # Pictures that the first visit did not show large, and another engine's files.
    for address_of_file in ("gallery/rocket.jpg", "gallery/paper-waves.jpg"):
        assert page.evaluate("async (url) => (await fetch(url)).ok", address_of_file)
    backend = page.evaluate(
        "async () => (await sfumato.use('webgl')).backend",
    )
    assert backend == "webgl"
    # What the browser itself writes about the request that was to fail.
    visitor.complaints = [
        line for line in visitor.complaints if "ERR_CONNECTION_REFUSED" not in line
    ]

    # Back with the server, nothing is said again.
    with running(app, port):
        visitor.open(f"{address}/{SETTINGS}")
        visitor.wait_until("navigator.serviceWorker.controller")
        expect(page.get_by_text(READY)).to_have_count(0)


def test_a_new_version_of_the_page_waits_until_the_visitor_takes_it(
    visitor: Tab, tmp_path: Path
) -> None:
    folder = tmp_path / "some" / "path"
    write_site(folder, MODELS, GALLERY, dist=DIST)
    page = visitor.page
    with static(tmp_path) as address:
        visitor.open(f"{address}/some/path/{SETTINGS}")
        expect(page.get_by_text(READY)).to_be_visible(timeout=60_000)
        painted = visitor.canvas("painted")
        title = page.title()

        publish_another_version(folder, "The second version")
        visitor.open(f"{address}/some/path/{SETTINGS}")
        expect(page.get_by_text(NEWS)).to_be_visible(timeout=60_000)
        assert page.title() == title
        page.get_by_role("button", name="Update now").click()
        expect(page).to_have_title("The second version", timeout=60_000)
        visitor.wait_for("painted")

    visitor.open(f"{address}/some/path/{SETTINGS}")
    assert page.title() == "The second version"
    assert (visitor.canvas("painted") == painted).all()


def test_another_version_of_the_model_is_taken(visitor: Tab, tmp_path: Path) -> None:
    """A model that is published again under its name is never mixed with the old."""
    models = tmp_path / "models"
    name = json.loads((MODELS / "index.json").read_text())["default"]
    published.install(MODELS / name, models, name)
    app = create_app({"DIST": DIST, "MODELS": models})
    asked: list[str] = []
    app.before_request(lambda: asked.append(request.full_path))

    def versions() -> set[str]:
        """Of the weights that the server was asked for since the last time."""
        seen = {path.partition("?v=")[2] for path in asked if ".bin" in path}
        asked.clear()
        return seen

    def kept() -> set[str]:
        """Of the files of models that the browser keeps."""
        addresses = visitor.page.evaluate(
            """async () => (await (await caches.open("sfumato-models")).keys())
              .map(({ url }) => url)"""
        )
        assert len(addresses) >= 7
        return {address.partition("?v=")[2] for address in addresses}

    with running(app) as address:
        visitor.open(f"{address}/{SETTINGS}")
        expect(visitor.page.get_by_text(READY)).to_be_visible(timeout=60_000)
        first = versions()
        assert len(first) == 1
        visitor.open(f"{address}/{SETTINGS}")
        assert versions() == set()
        assert kept() == first

        bundle = tmp_path / "bundle"
        shutil.copytree(models / name, bundle)
        manifest = bundle / "manifest.json"
        manifest.write_text(
            re.sub(r'"version": "\w+"', '"version": "other"', manifest.read_text())
        )
        published.install(bundle, models, name)
        visitor.open(f"{address}/{SETTINGS}")
        assert versions() == {"other"}
        # The old ones are not kept for ever.
        assert kept() == {"other"}


def publish_another_version(folder: Path, title: str) -> None:
    """What a build of a changed index.html changes."""
    page = folder / "index.html"
    page.write_text(
        re.sub("<title>.*?</title>", f"<title>{title}</title>", page.read_text())
    )
    worker = folder / "sw.js"
    changed, times = re.subn(
        r"(index\.html[`\"'],revision:[`\"'])\w+", r"\g<1>other", worker.read_text()
    )
    assert times == 1
    worker.write_text(changed)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def static(folder: Path) -> Iterator[str]:
    """A server of files and nothing else; gives its address."""
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
