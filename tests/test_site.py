"""The page as a folder of files, on a plain file server, below a path."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from browser import DIST, GALLERY, MODELS, Tab
from playwright.sync_api import Browser, expect
from test_offline import READY, SETTINGS, static

from export import convert, published
from export.graphs import ExportError
from export.site import write_site


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default model under three names."""
    folder = tmp_path_factory.mktemp("published")
    name = json.loads((MODELS / "index.json").read_text())["default"]
    for copy in ("alone", "second", "left"):
        published.install(MODELS / name, folder, "copy")
        published.rename(folder, "copy", copy)
    return folder


def write(folder: Path, models: Path, *names: str) -> int:
    included = [argument for name in names for argument in ("--include", name)]
    return convert.main(["--site", str(folder), "--models", str(models), *included])


def test_a_site_works_below_a_path_without_any_server(
    chromium: Browser, models: Path, tmp_path: Path
) -> None:
    """Two of three models, the first of them opened; then the host goes away."""
    folder = tmp_path / "some" / "path"
    assert write(folder, models, "second", "alone") == 0
    assert sorted(os.listdir(folder)) == [
        "assets", "gallery", "index.html", "models", "sw.js"
    ]  # fmt: skip
    assert sorted(os.listdir(folder / "models")) == ["alone", "index.json", "second"]

    asked: list[str] = []
    with chromium.new_context() as context:
        tab = Tab(context.new_page())
        page = tab.page
        context.on("request", lambda request: asked.append(request.url))
        with static(tmp_path) as address:
            site = f"{address}/some/path/"
            tab.open(site + SETTINGS)
            expect(page.get_by_text(READY)).to_be_visible(timeout=60_000)
            picker = page.get_by_role("combobox", name="Model")
            expect(picker).to_have_value("second")
            expect(picker.locator("option")).to_have_count(2)
            engines = page.locator("#engine-choice option").all_inner_texts()
            assert engines == ["The best here", "WebGL", "WebAssembly", "WebGPU"]
            painted = tab.canvas("painted")

            picker.select_option("alone")
            expect(page.locator("html")).to_have_attribute("data-state", "painted")
            tab.wait_until("location.search.endsWith('model=alone')")
            tab.wait_for_picture(painted, (0, 0))
        assert {
            url for url in asked if not url.startswith((site, "blob:", "data:"))
        } == set()
        versions = [url for url in asked if ".bin" in url or "manifest.json" in url]
        assert len(versions) >= 8
        assert all(re.search(r"\?v=\w{12}$", url) for url in versions)

        for query in ("", "&model=alone"):
            tab.open(f"{site}{SETTINGS}{query}")
            assert (tab.canvas("painted") == painted).all()
        gone = "fetch('./nothing').then(() => 'up', () => 'down')"
        assert page.evaluate(gone) == "down"
        # What the browser itself writes about the request that was to fail.
        refused = "ERR_CONNECTION_REFUSED"
        assert [line for line in tab.complaints if refused not in line] == []


def test_a_site_is_replaced_and_what_is_beside_it_stays(
    models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    assert write(folder, models) == 0
    index = json.loads((folder / "models/index.json").read_text())
    assert list(index["models"]) == ["alone", "left", "second"]
    assert index["default"] == "alone"
    (folder / "CNAME").write_text("paint.example")
    (folder / "assets/old.js").write_text("")
    assert write(folder, models, "left") == 0
    assert (folder / "CNAME").read_text() == "paint.example"
    assert not (folder / "assets/old.js").exists()
    assert sorted(os.listdir(folder / "models")) == ["index.json", "left"]
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nobody"], "There is no model 'nobody'; there are: alone, left, second."),
        (["../left"], "'../left' is no name for a model"),
    ],
)
def test_a_site_of_models_that_are_not_there_is_refused(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    names: list[str],
    message: str,
) -> None:
    assert write(tmp_path / "site", models, *names) == 1
    said = capsys.readouterr().err
    assert said.startswith("Nothing was changed.")
    assert message in said
    assert not (tmp_path / "site").exists()


def test_a_folder_with_something_else_is_left_alone(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert write(tmp_path, models) == 1
    assert "no empty folder and no site" in capsys.readouterr().err
    assert write(tmp_path / "thesis.txt", models) == 1
    # A folder of published models is none either.
    shutil.copytree(models, tmp_path / "mine/models")
    assert write(tmp_path / "mine", models) == 1
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert os.listdir(tmp_path / "mine") == ["models"]


def test_a_site_needs_the_built_page_and_a_model(models: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with pytest.raises(ExportError, match=r"The page is not built: .*make web/dist"):
        write_site(site, models, GALLERY, dist=tmp_path / "dist")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="No model is published"):
        write_site(site, tmp_path / "empty", GALLERY, dist=DIST)
    with pytest.raises(ExportError, match="no folder of published models"):
        write_site(site, tmp_path / "nowhere", GALLERY, dist=DIST)
    assert not site.exists()
