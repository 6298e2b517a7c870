"""What becomes of the picture, in real Chromium: files, copies, links, presets."""

import base64
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import GALLERY, TOLERANCES, Tab, assert_close, png, sample, upload
from PIL import Image
from playwright.sync_api import Browser, expect

from sfumato.model import StyleModel, mix


@pytest.fixture
def other_tab(chromium: Browser) -> Iterator[Tab]:
    """Another visitor."""
    with chromium.new_context(service_workers="block") as context:
        tab = Tab(context.new_page())
        yield tab
        assert tab.complaints == []


def press(tab: Tab, name: str) -> None:
    tab.page.get_by_role("button", name=name, exact=True).click()


def copied_link(tab: Tab) -> str:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(tab, "Copy link")
    expect(tab.page.get_by_text("The link is copied.")).to_be_visible()
    return tab.page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize(
    ("kind", "extension", "tolerance"),
    # JPEG halves the resolution of colours, which shows in a picture this small.
    [("PNG", "png", 0), ("JPEG", "jpg", 8)],
)
def test_download_is_the_painted_picture(
    tab: Tab, site: str, tmp_path: Path, kind: str, extension: str, tolerance: int
) -> None:
    tab.open(f"{site}?backend=wasm&size=64")
    with tab.page.expect_download() as download:
        press(tab, f"Download {kind}")
    name = download.value.suggested_filename
    assert name.startswith("sfumato-chelsea-the-cat-night-wind-")
    assert name.endswith(f".{extension}")
    download.value.save_as(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        saved = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(saved - tab.canvas("painted")).mean() <= tolerance


def test_copied_picture_is_the_painted_one(tab: Tab, site: str) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.open(f"{site}?backend=wasm&size=64")
    press(tab, "Copy picture")
    expect(tab.page.get_by_text("The picture is copied.")).to_be_visible()
    data = tab.page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          const blob = await item.getType("image/png");
          return test.encode(new Uint8Array(await blob.arrayBuffer()));
        }"""
    )
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert (np.asarray(image.convert("RGB")) == tab.canvas("painted")).all()


def test_shared_picture_is_the_painted_one(tab: Tab, site: str) -> None:
    """This browser has nothing to share with: what it would be given is recorded."""
    tab.page.add_init_script(
        """
        navigator.canShare = ({ files }) => files[0].type === "image/jpeg";
        window.shared = new Promise((resolve) => {
          navigator.share = async (given) => { resolve(given); };
        });
        """
    )
    tab.open(f"{site}?backend=wasm&size=64")
    press(tab, "Share…")
    name, text, data = tab.page.evaluate(
        """async () => {
          const { files, text } = await shared;
          const bytes = new Uint8Array(await files[0].arrayBuffer());
          return [files[0].name, text, test.encode(bytes)];
        }"""
    )
    assert name.endswith(".jpg")
    assert text.startswith("Night wind ")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        error = np.abs(
            np.asarray(image.convert("RGB")) - tab.canvas("painted").astype(int)
        )
    assert error.mean() <= 8


def test_link_paints_the_same_elsewhere_without_any_picture(
    tab: Tab, other_tab: Tab, site: str, default_model: StyleModel
) -> None:
    tab.open(f"{site}?backend=wasm&size=64")
    page = tab.page
    page.get_by_role("button", name="Espresso", exact=True).click()
    own = sample("astronaut.jpg", 150, 150)
    page.set_input_files("#style-files", upload("My “own” ✓.png", png(own)))
    expect(page.locator("#caption strong")).to_contain_text(
        "My “own” ✓", timeout=60_000
    )
    strength = page.get_by_role("slider", name="Strength")
    strength.focus()
    for _ in range(4):
        strength.press("ArrowLeft")
    expect(strength).to_have_value("80")
    page.locator("#keep-colours").check()
    link = copied_link(tab)
    tab.wait_for("painted")
    caption = page.locator("#caption strong").inner_text()
    painted = tab.canvas("painted")

    address, text = link.split("#mix=1.")
    assert address == f"{site}?backend=wasm&size=64"
    data = zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    length = int.from_bytes(data[:2], "little")
    header = json.loads(data[2 : 2 + length])
    titles = [style[1] for style in header["s"]]
    assert titles == ["Night wind", "Stained glass", "Ink hills", "My “own” ✓"]
    numbers = np.frombuffer(data[2 + length :], "<i2").reshape(4, 100) / 32767
    numbers *= np.array([style[6] for style in header["s"]])[:, None]
    for embedding, style in zip(
        numbers, [GALLERY / "night-wind.jpg", None, None, own], strict=True
    ):
        if style is not None:
            expected = default_model.embed(style, size=64)
            assert_close(embedding, expected, TOLERANCES["float16"])
    # Room for the numbers, the names and nothing else.
    assert len(link) < 2000

    other_tab.open(link)
    other_tab.wait_for_picture(painted, TOLERANCES["float16"])
    expect(other_tab.page.locator("#caption strong")).to_have_text(caption)
    expect(other_tab.page.get_by_role("slider", name="Strength")).to_have_value("80")
    assert other_tab.page.locator("#keep-colours").is_checked()
    expect(other_tab.page.get_by_role("button", name="Undo")).to_be_disabled()


def test_link_opened_in_an_open_page_can_be_undone(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=48")
    first = tab.canvas("painted")
    link = copied_link(tab)
    tab.page.locator("#pad").get_by_role("button", name="Ink hills").press("Enter")
    other = tab.wait_for_other_picture(first)
    tab.page.evaluate("(link) => { location.href = link; }", link)
    tab.wait_for_picture(first, TOLERANCES["float16"])
    press(tab, "Undo")
    tab.wait_for_picture(other, TOLERANCES["float16"])


MISSING = "part of it is missing or damaged"


def test_damaged_link_is_explained_and_the_page_paints(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    good = mix_text(default_model)
    tab.open(f"{site}?backend=wasm&size=32#mix={good[:-20]}")
    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text(MISSING)
    expect(tab.page.locator("#caption strong")).to_contain_text("Night wind")
    painted = tab.canvas("painted")
    changed = "B" if good[60] == "A" else "A"
    for damaged, message in [
        (good[:60] + changed + good[61:], MISSING),
        ("1.", MISSING),
        ("hello", MISSING),
        ("1.%", MISSING),
        (f"7{good[1:]}", "by another version of this page"),
        (mix_text(default_model, t=40), MISSING),
        (mix_text(default_model, n=99), MISSING),
        (mix_text(default_model, s=[["", "x", 1, 0, 0.5, 0.5, None]]), MISSING),
        (mix_text(default_model, s=[["", "x", 1, 0, 0.5, "left", 1]]), MISSING),
        (mix_text(default_model, m=None), MISSING),
    ]:
        alert.get_by_role("button", name="Dismiss").click()
        tab.page.evaluate("(text) => { location.hash = `mix=${text}`; }", damaged)
        expect(alert).to_contain_text(message)
    assert (tab.canvas("painted") == painted).all()

    tab.page.evaluate("(text) => { location.hash = `mix=${text}`; }", good)
    expect(alert).to_be_empty()
    tab.wait_for_other_picture(painted)


def mix_text(model: StyleModel, **changes: object) -> str:
    """A mix of one style as the page writes it, here written by hand."""
    embedding = model.embed(GALLERY / "embers.jpg")
    scale = float(np.abs(embedding).max())
    header = {
        "m": [model.manifest["name"], model.manifest["version"]],
        "s": [["", "By hand", 1, 0, 0.5, 0.5, scale]],
        "u": [0.5, 0.5],
        "t": 1,
        "f": 0,
        "z": 1,
        "c": 0,
        "d": [],
        "n": 100,
        **changes,
    }
    words = json.dumps(header).encode()
    numbers = np.rint(embedding / scale * 32767).astype("<i2").tobytes()
    data = zlib.compress(len(words).to_bytes(2, "little") + words + numbers)
    return "1." + base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_link_written_by_hand_paints_its_style(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    tab.open(f"{site}?backend=wasm&size=48#mix={mix_text(default_model)}")
    embedding = mix([(default_model.embed(GALLERY / "embers.jpg"), 1.0)])
    tab.wait_for_picture(
        default_model.stylize(tab.canvas("photo"), embedding), TOLERANCES["float16"]
    )
    expect(tab.page.locator("#caption strong")).to_have_text("By hand 100 %")


def test_link_of_another_version_says_so(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    name = default_model.manifest["name"]
    text = mix_text(default_model, m=[name, "abc"])
    tab.open(f"{site}?backend=wasm&size=32#mix={text}")
    expect(tab.page.get_by_text(f"another model (“{name}”, abc)")).to_be_visible()


def test_presets_survive_a_reload_and_can_be_removed(tab: Tab, site: str) -> None:
    address = f"{site}?backend=wasm&size=48"
    tab.open(address)
    page = tab.page
    start = tab.canvas("painted")
    page.locator("#pad").get_by_role("button", name="Ink hills").press("Enter")
    painted = tab.wait_for_other_picture(start)
    page.locator("#presets-section summary").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("Morning fog")
    press(tab, "Keep this mix")
    expect(page.get_by_text("“Morning fog” is kept.")).to_be_visible()
    # Without a name, the mix is the name.
    press(tab, "Keep this mix")
    expect(
        page.get_by_role("button", name="Ink hills 100 %", exact=True)
    ).to_be_visible()

    tab.open(address)
    page.locator("#presets-section summary").click()
    assert tab.canvas("painted").tolist() == start.tolist()
    press(tab, "Morning fog")
    tab.wait_for_picture(painted, TOLERANCES["float16"])
    press(tab, "Remove Morning fog")
    expect(page.get_by_role("button", name="Morning fog")).to_have_count(0)

    tab.open(address)
    page.locator("#presets-section summary").click()
    assert page.locator("#presets li").count() == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "Storage.prototype.setItem = () => "
            "{ throw new DOMException('full', 'QuotaExceededError'); };",
            "There is no room left for another preset.",
        ),
        (
            "Object.defineProperty(window, 'localStorage', "
            "{ get() { throw new DOMException('no', 'SecurityError'); } });",
            "does not let the page keep anything",
        ),
    ],
)
def test_full_or_forbidden_storage_is_explained(
    tab: Tab, site: str, script: str, message: str
) -> None:
    tab.page.add_init_script(script)
    tab.open(f"{site}?backend=wasm&size=32")
    tab.page.locator("#presets-section summary").click()
    press(tab, "Keep this mix")
    expect(tab.page.locator("#presets [role=status]")).to_contain_text(message)
