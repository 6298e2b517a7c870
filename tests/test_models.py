"""Several models side by side: the picker, links and presets of another model, and the
smaller download."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from browser import (
    DIST,
    GALLERY,
    MODELS,
    TOLERANCES,
    Tab,
    assert_close,
    png,
    sample,
    upload,
)
from conftest import Serve
from playwright.sync_api import Browser, Locator, Route, expect
from test_convert import untrained
from test_result import mix_text

from export import convert, published
from sfumato.model import StyleModel, mix

SIZE = 48
SETTINGS = f"?backend=wasm&size={SIZE}"
# Small weights are rounded more coarsely.
UINT8 = (0.3, 0.1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default model and a small untrained one, `other`."""
    folder = tmp_path_factory.mktemp("two")
    default = json.loads((MODELS / "index.json").read_text())["default"]
    published.install(MODELS / default, folder, default)
    other = untrained()
    other.manifest |= {
        "title": "The other",
        "description": "Paints like nobody.",
        "scores": {"256": {"content": 1.234, "style": 0.567}},
    }
    convert.publish(other, "other", "float16", folder, variants=["uint8"])
    return folder


@pytest.fixture(scope="module")
def other(models: Path) -> StyleModel:
    return StyleModel.load(models / "other")


@pytest.fixture(scope="module")
def site(serve: Serve, models: Path) -> str:
    """A page with two models."""
    return serve(DIST=DIST, MODELS=models) + "/"


@pytest.fixture
def loose_tab(chromium: Browser) -> Iterator[Tab]:
    """A page that may write to the console, as browsers do when requests fail."""
    with chromium.new_context(service_workers="block") as context:
        yield Tab(context.new_page())


def picker(tab: Tab) -> Locator:
    return tab.page.get_by_role("combobox", name="Model")


def first_mix(tab: Tab, model: StyleModel, *more: np.ndarray) -> np.ndarray:
    """What a model makes of the styles that the page opens with, and of more."""
    samples = json.loads((GALLERY / "gallery.json").read_text())
    styles = [sample for sample in samples if sample["kind"] == "style"][:3]
    pairs = [
        (model.embed(GALLERY / style["file"], size=SIZE), tab.share(style["title"]))
        for style in styles
    ]
    pairs += [(model.embed(style, size=SIZE), tab.share("Own")) for style in more]
    return model.stylize(tab.canvas("photo"), mix(pairs))


def test_switching_keeps_photo_and_styles(
    tab: Tab, site: str, default_model: StyleModel, other: StyleModel
) -> None:
    """Every style is looked at by the new model, own ones too; and back."""
    tab.open(f"{site}{SETTINGS}")
    page = tab.page
    own = sample("astronaut.jpg", 200, 160)
    page.set_input_files("#style-files", upload("Own.png", png(own)))
    expect(page.locator("#caption strong")).to_contain_text("Own 25 %", timeout=60_000)
    tab.wait_for("painted")
    photo, before = tab.canvas("photo"), tab.canvas("painted")
    assert_close(
        before / 255, first_mix(tab, default_model, own) / 255, TOLERANCES["float16"]
    )
    files: list[str] = []
    page.on("request", lambda request: files.append(request.url))

    picker(tab).focus()
    page.keyboard.press("ArrowDown")
    after = tab.wait_for_other_picture(before)
    assert picker(tab).input_value() == "other"
    assert (tab.canvas("photo") == photo).all()
    expected = first_mix(tab, other, own)
    assert np.abs(expected.astype(int) - before).mean() > 10
    assert_close(after / 255, expected / 255, TOLERANCES["float16"])
    assert len(page.workers) == 1
    assert page.url == f"{site}{SETTINGS}&model=other"
    version = other.manifest["version"]
    downloads = [url for url in files if "/models/other/" in url]
    assert len(downloads) == 7
    assert {url.partition("?v=")[2] for url in downloads} == {version}
    expect(page.locator("#model")).to_have_text("Paints like nobody.")
    page.get_by_text("About this model").click()
    card = page.locator("#model-card").inner_text().splitlines()
    assert card == [
        f"{other.manifest['download_bytes'] / 1e6:.1f} MB to download (float16)",
        "Distance at 256 px: 1.23 to the photo, 0.57 to the style",
        "Trained on none",
        "Licence: MIT",
    ]

    picker(tab).select_option(default_model.manifest["name"])
    tab.wait_for_picture(before, (0, 0))
    picker(tab).select_option("other")
    tab.wait_for_picture(after, (0, 0))
    tab.open(page.url)
    assert picker(tab).input_value() == "other"
    assert_close(
        tab.canvas("painted") / 255, first_mix(tab, other) / 255, TOLERANCES["float16"]
    )


def test_switching_shows_progress_and_can_be_cancelled(
    tab: Tab, site: str, models: Path, default_model: StyleModel, other: StyleModel
) -> None:
    tab.open(f"{site}{SETTINGS}")
    page = tab.page
    before = tab.canvas("painted")
    held: list[Route] = []
    page.route("**/other/decoder/*.bin*", lambda route: held.append(route))
    picker(tab).select_option("other")
    total = other.manifest["download_bytes"] / 1e6
    (rest,) = (models / "other" / "decoder").glob("*.bin")
    there = total - rest.stat().st_size / 1e6
    page.wait_for_selector(
        f"text=/Downloading the model: {there:.1f} of {total:.1f} MB/"
    )
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled.")
    assert picker(tab).input_value() == default_model.manifest["name"]
    assert "model=" not in page.url
    assert (tab.canvas("painted") == before).all()

    # The one before goes on painting.
    page.get_by_role("slider", name="Strength").press("End")
    tab.wait_for_other_picture(before)
    page.get_by_role("slider", name="Strength").press("Home")
    for _ in range(20):
        page.get_by_role("slider", name="Strength").press("ArrowRight")
    tab.wait_for_picture(before, (0, 0))

    page.unroute("**/other/decoder/*.bin*")
    page.get_by_role("button", name="Load the model").click()
    tab.wait_for_picture(first_mix(tab, other), TOLERANCES["float16"])
    expect(page.get_by_role("alert")).to_be_empty()
    assert picker(tab).input_value() == "other"


def test_the_last_choice_counts(tab: Tab, site: str, other: StyleModel) -> None:
    """A model chosen while another is on its way."""
    tab.open(f"{site}{SETTINGS}")
    before = tab.canvas("painted")
    held: list[Route] = []
    tab.page.route("**/other/decoder/*.bin*", lambda route: held.append(route))
    default = picker(tab).input_value()
    picker(tab).select_option("other")
    tab.page.wait_for_selector("text=/Downloading the model/")
    picker(tab).select_option(default)
    tab.wait_for("painted")
    expect(tab.page.get_by_role("alert")).to_be_empty()
    assert picker(tab).input_value() == default
    assert (tab.canvas("painted") == before).all()
    assert len(tab.page.workers) == 1


def test_a_model_that_cannot_be_loaded_leaves_the_one_before(
    loose_tab: Tab, site: str
) -> None:
    tab = loose_tab
    tab.open(f"{site}{SETTINGS}")
    page = tab.page
    before = tab.canvas("painted")
    default = picker(tab).input_value()
    page.route("**/other/**/*.bin*", lambda route: route.fulfill(status=503))
    picker(tab).select_option("other")
    tab.wait_for("error")
    expect(page.get_by_role("alert")).to_contain_text("(status 503)")
    assert picker(tab).input_value() == default
    page.get_by_role("slider", name="Strength").press("End")
    tab.wait_for_other_picture(before)


def test_styles_without_pictures_belong_to_one_model(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    """They are left out with a word, and come back with their model."""
    tab.open(f"{site}{SETTINGS}#mix={mix_text(default_model)}")
    page = tab.page
    alert = page.get_by_role("alert")
    caption = page.locator("#caption strong")
    expect(caption).to_have_text("By hand 100 %", timeout=60_000)
    before = tab.canvas("painted")
    name = default_model.manifest["name"]

    picker(tab).select_option("other")
    expect(
        page.get_by_text(f"“By hand”: known only in the numbers of the model “{name}”")
    ).to_be_visible()
    expect(page.locator("#styles li")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(alert).to_contain_text("“By hand” is known only in the numbers of the model")
    assert (tab.canvas("painted") == before).all()

    page.get_by_role("button", name="Night wind", exact=True).first.click()
    expect(alert).to_contain_text("“By hand” is known only")
    page.get_by_role("button", name="Undo").click()
    picker(tab).select_option(name)
    tab.wait_for_picture(before, (0, 0))
    expect(alert).to_be_empty()
    expect(caption).to_have_text("By hand 100 %")


def test_a_link_of_a_published_model_is_painted_by_it(
    tab: Tab, site: str, other: StyleModel
) -> None:
    tab.open(f"{site}{SETTINGS}")
    tab.page.evaluate("(mix) => { location.hash = `mix=${mix}`; }", mix_text(other))
    embedding = other.embed(GALLERY / "embers.jpg")
    tab.wait_for_picture(
        other.stylize(tab.canvas("photo"), embedding), TOLERANCES["float16"]
    )
    expect(tab.page.locator("#caption strong")).to_have_text("By hand 100 %")
    assert picker(tab).input_value() == "other"
    assert "model=other" in tab.page.url


def test_a_link_of_an_unknown_model_takes_only_the_gallerys_styles(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    """Their pictures are here; the numbers would mean something else."""
    known = {"m": ["gone", "abc"], "s": [["embers.jpg", "Embers", 1, 0, 0.5, 0.5, 9]]}
    tab.open(f"{site}{SETTINGS}#mix={mix_text(default_model, **known)}")
    embedding = default_model.embed(GALLERY / "embers.jpg", size=SIZE)
    expected = default_model.stylize(tab.canvas("photo"), embedding)
    tab.wait_for_picture(expected, TOLERANCES["float16"])
    expect(tab.page.get_by_text("another model (“gone”, abc)")).to_be_visible()

    text = mix_text(default_model, m=["gone", "abc"])
    tab.page.evaluate("(mix) => { location.hash = `mix=${mix}`; }", text)
    expect(tab.page.get_by_role("alert")).to_contain_text(
        f"was made with the model “gone”, whose styles the model "
        f"“{default_model.manifest['name']}” cannot read. Choose the styles again."
    )
    assert_close(tab.canvas("painted"), expected, (3, 3))


def test_the_server_paints_with_the_model_chosen(
    tab: Tab, site: str, other: StyleModel
) -> None:
    tab.open(f"{site}{SETTINGS}")
    before = tab.canvas("painted")
    picker(tab).select_option("other")
    before = tab.wait_for_other_picture(before)
    tab.page.locator("#engine-choice").select_option("server")
    expect(tab.page.locator("#engine")).to_contain_text(
        "Painted by the server.", timeout=60_000
    )
    style = sample("embers.jpg", 64, 80)
    assert_close(tab.embed(style), other.embed(style), (1e-6, 1e-6))
    tab.wait_for_picture(first_mix(tab, other), (1, 1))


def test_the_map_is_the_models(tab: Tab, site: str) -> None:
    tab.open(f"{site}{SETTINGS}")
    page = tab.page
    page.locator("#explore-section summary").click()
    images = page.locator(".map img")
    styles = sum(
        entry["kind"] == "style"
        for entry in json.loads((GALLERY / "gallery.json").read_text())
    )
    expect(images).to_have_count(styles, timeout=60_000)
    expect(page.locator(".direction")).to_have_count(3)
    lefts = "(all) => all.map((one) => one.style.left)"
    before = images.evaluate_all(lefts)
    page.locator(".direction input").first.press("End")
    tab.wait_for("painted")
    picker(tab).select_option("other")
    tab.wait_until("location.search.includes('model=other')")
    expect(images).to_have_count(styles, timeout=60_000)
    expect(page.locator(".direction")).to_have_count(3)
    assert images.evaluate_all(lefts) != before
    # An offset along the other model's directions means nothing here.
    expect(page.locator(".direction input").first).to_have_value("0")


CONNECTION = "Object.defineProperty(navigator, 'connection', { value: %s });"
MEMORY = "Object.defineProperty(navigator, 'deviceMemory', { value: 0.5 });"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (CONNECTION % "{ effectiveType: '3g' }", "the connection is slow"),
        (
            CONNECTION % "{ effectiveType: '4g', saveData: true }",
            "your browser asks to save data",
        ),
        (MEMORY, "this device has little memory"),
    ],
)
def test_the_smaller_download_where_that_helps(
    tab: Tab, site: str, other: StyleModel, script: str, reason: str
) -> None:
    tab.page.add_init_script(script)
    files: list[str] = []
    tab.page.on("request", lambda request: files.append(request.url))
    tab.open(f"{site}{SETTINGS}&model=other")
    weights = [url.partition("/other/")[2] for url in files if ".bin" in url]
    assert len(weights) == 3
    assert all(path.startswith("uint8/") for path in weights)
    size = other.manifest["variants"][0]["download_bytes"] / 1e6
    expect(tab.page.locator("#engine")).to_contain_text(
        f"The model came in a smaller size ({size:.1f} MB, uint8), because {reason}."
    )
    style = sample("embers.jpg", 64, 80)
    embedding = tab.embed(style)
    assert_close(embedding, other.embed(style), UINT8)
    assert np.abs(embedding - other.embed(style)).max() > TOLERANCES["float16"][0] / 8


def test_a_variant_that_does_not_come_gives_way_to_another(
    loose_tab: Tab, site: str
) -> None:
    """As without a network, where another one was kept."""
    tab = loose_tab
    tab.page.route("**/other/decoder/*.bin*", lambda route: route.fulfill(status=503))
    tab.open(f"{site}{SETTINGS}&model=other")
    expect(tab.page.locator("#engine")).to_contain_text(
        "uint8), because its full size could not be reached."
    )


def test_a_single_model_is_not_asked_for(
    tab: Tab, serve: Serve, models: Path, tmp_path: Path
) -> None:
    published.install(models / "other", tmp_path, "other")
    tab.open(serve(DIST=DIST, MODELS=tmp_path) + f"/{SETTINGS}")
    expect(tab.page.locator("#model-setting")).to_be_hidden()


def test_a_version_that_was_replaced_is_not_served_under_its_address(
    serve: Serve, models: Path
) -> None:
    address = serve(DIST=DIST, MODELS=models)
    folder = f"{address}/models/other"
    version = published.read_index(models)["models"]["other"]["version"]
    for path in ("manifest.json", "uint8/decoder/model.json"):
        fresh = requests.get(f"{folder}/{path}?v={version}")
        assert fresh.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert fresh.json() == json.loads((models / "other" / path).read_text())
        stale = requests.get(f"{folder}/{path}?v=0123456789ab")
        assert stale.status_code == 404
        assert stale.headers["Cache-Control"] == "no-cache"
        assert "was replaced. Reload the page." in stale.json()["detail"]
        assert requests.get(f"{folder}/{path}").headers["Cache-Control"] == "no-cache"
    assert requests.get(f"{address}/models/index.json?v=1").status_code == 404
