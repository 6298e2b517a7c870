"""Mixing by hand: the pad, the shares, the brush and the view, by real events."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import (
    GALLERY,
    TOLERANCES,
    Tab,
    assert_close,
    png,
    sample,
    upload,
)
from playwright.sync_api import Browser, FloatRect, expect

from sfumato.images import decode
from sfumato.model import StyleModel, mix

TOLERANCE = TOLERANCES["float16"]
STYLES = {
    "Night wind": "night-wind.jpg",
    "Stained glass": "stained-glass.jpg",
    "Ink hills": "ink-hills.jpg",
}

# Of the shorter side of what is painted, in pixels.
SIZE = 48


@pytest.fixture
def studio(tab: Tab, site: str) -> Tab:
    return tab.open(f"{site}?backend=wasm&size={SIZE}")


def expected_mix(
    tab: Tab,
    model: StyleModel,
    styles: dict[str, str] = STYLES,
    photo: np.ndarray | None = None,
) -> np.ndarray:
    """What the server paints of a photo, or else of the page's, under the shares that
    the page shows."""
    photo = tab.canvas("photo") if photo is None else photo
    pairs = [
        (model.embed(GALLERY / file, size=min(photo.shape[:2])), tab.share(title))
        for title, file in styles.items()
    ]
    assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-6)
    return model.stylize(photo, mix(pairs))


def thumb_place(tab: Tab, style: str) -> tuple[float, float]:
    return tab.place(f"#pad .thumb[title='{style}']")


def press_at(tab: Tab, x: float, y: float) -> None:
    tab.page.mouse.move(*tab.on_pad(x, y))
    tab.page.mouse.down()


def drag_puck(tab: Tab, x: float, y: float, steps: int = 10) -> None:
    press_at(tab, *tab.place("#pad .puck"))
    tab.page.mouse.move(*tab.on_pad(x, y), steps=steps)
    tab.page.mouse.up()


@pytest.mark.parametrize("style", ["Stained glass", "Ink hills"])
def test_puck_dragged_onto_a_style_paints_it_alone(
    studio: Tab, default_model: StyleModel, style: str
) -> None:
    drag_puck(studio, *thumb_place(studio, style))
    expect(studio.page.locator("#caption strong")).to_have_text(f"{style} 100 %")
    expect(studio.page.locator("#spoken")).to_have_text(f"Painted: {style} 100 %")
    embedding = default_model.embed(GALLERY / STYLES[style], size=SIZE)
    expected = default_model.stylize(studio.canvas("photo"), embedding)
    studio.wait_for_picture(expected, TOLERANCE)


def test_styles_dragged_into_corners_paint_as_each_alone(
    studio: Tab, default_model: StyleModel
) -> None:
    """Two styles in opposite corners, and the puck on one and then on the other."""
    for style, corner in (("Night wind", (0, 0)), ("Stained glass", (1, 1))):
        press_at(studio, *thumb_place(studio, style))
        studio.page.mouse.move(*studio.on_pad(*corner), steps=5)
        studio.page.mouse.up()
    pictures = []
    for style in ("Night wind", "Stained glass"):
        drag_puck(studio, *thumb_place(studio, style))
        embedding = default_model.embed(GALLERY / STYLES[style], size=SIZE)
        expected = default_model.stylize(studio.canvas("photo"), embedding)
        studio.wait_for_picture(expected, TOLERANCE)
        pictures.append(studio.canvas("painted"))
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 10


def test_dragged_style_is_weighed_anew(studio: Tab, default_model: StyleModel) -> None:
    share = studio.share("Ink hills")
    before = studio.canvas("painted")
    press_at(studio, *thumb_place(studio, "Ink hills"))
    puck = studio.place("#pad .puck")
    studio.page.mouse.move(*studio.on_pad(puck[0] + 0.1, puck[1] + 0.1), steps=8)
    studio.page.mouse.up()
    assert studio.share("Ink hills") > share + 0.2
    assert studio.place("#pad .puck") == puck
    studio.wait_for_other_picture(before)
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)


def test_far_styles_drop_to_nothing(studio: Tab) -> None:
    x, y = thumb_place(studio, "Night wind")
    drag_puck(studio, x - 0.04, y - 0.04)
    assert studio.share("Stained glass") == 0
    assert studio.share("Ink hills") == 0
    assert studio.share("Night wind") == 1


# As a thumb on a phone does it, the mouse's events being another's.
def test_pad_is_dragged_by_touch(
    chromium: Browser, site: str, default_model: StyleModel
) -> None:
    with chromium.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, service_workers="block"
    ) as context:
        tab = Tab(context.new_page()).open(f"{site}?backend=wasm&size={SIZE}")
        tab.on_pad(0, 0)
        scrolled = tab.page.evaluate("scrollY")
        touch = context.new_cdp_session(tab.page)

        def send(kind: str, *points: tuple[float, float]) -> None:
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]},
            )

        start, end = tab.place("#pad .puck"), thumb_place(tab, "Ink hills")
        send("touchStart", tab.on_pad(*start))
        for step in range(1, 11):
            part = step / 10
            point = [a + part * (b - a) for a, b in zip(start, end, strict=True)]
            send("touchMove", tab.on_pad(*point))
        send("touchEnd")
        expect(tab.page.locator("#caption strong")).to_have_text("Ink hills 100 %")
        assert tab.page.evaluate("scrollY") == scrolled
        embedding = default_model.embed(GALLERY / STYLES["Ink hills"], size=SIZE)
        expected = default_model.stylize(tab.canvas("photo"), embedding)
        tab.wait_for_picture(expected, TOLERANCE)
        assert tab.complaints == []


def test_tap_on_a_style_takes_it_alone(studio: Tab) -> None:
    studio.page.locator("#pad .thumb[title='Stained glass']").click()
    expect(studio.page.locator("#caption strong")).to_have_text("Stained glass 100 %")
    assert studio.place("#pad .puck") == thumb_place(studio, "Stained glass")


def test_pad_works_by_keyboard_and_says_the_mix(
    studio: Tab, default_model: StyleModel
) -> None:
    page = studio.page
    across = page.get_by_role("slider", name="Mix, from left to right")
    before = studio.place("#pad .puck")
    said = across.get_attribute("aria-valuetext")
    assert said == "Night wind 71 %, Stained glass 14 %, Ink hills 15 %"
    across.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    after = studio.place("#pad .puck")
    assert after == pytest.approx((before[0] + 0.04, before[1] + 0.02))
    assert across.get_attribute("aria-valuetext") != said
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)

    style = page.get_by_role("button", name="Ink hills,")
    place = thumb_place(studio, "Ink hills")
    style.press("ArrowLeft")
    assert thumb_place(studio, "Ink hills") == pytest.approx(
        (place[0] - 0.02, place[1])
    )
    style.press("Enter")
    expect(style).to_have_accessible_name("Ink hills, 100 %")
    expect(across).to_have_attribute("aria-valuetext", "Ink hills 100 %")


def test_shares_are_edited_and_the_puck_follows(
    studio: Tab, default_model: StyleModel
) -> None:
    page = studio.page
    before = studio.place("#pad .puck")
    number = page.get_by_role("spinbutton", name="Share of Stained glass, percent")
    number.fill("70")
    number.press("Enter")
    assert studio.share("Stained glass") == pytest.approx(0.7)
    # The others keep their proportions.
    assert studio.share("Night wind") / studio.share("Ink hills") == pytest.approx(
        71.3 / 15.4, rel=0.1
    )
    expect(
        page.get_by_role("slider", name="Stained glass", exact=True)
    ).to_have_attribute("aria-valuetext", "70 %")
    goal = thumb_place(studio, "Stained glass")
    after = studio.place("#pad .puck")
    assert np.hypot(*np.subtract(after, goal)) < np.hypot(*np.subtract(before, goal))
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)


def test_range_is_dragged(studio: Tab, default_model: StyleModel) -> None:
    slider = studio.page.get_by_role("slider", name="Ink hills", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    share = studio.share("Ink hills")
    studio.page.mouse.move(box["x"] + 8 + share * (box["width"] - 16), middle)
    studio.page.mouse.down()
    studio.page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=8)
    studio.page.mouse.up()
    assert 0.5 < studio.share("Ink hills") < 0.7
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)


def test_locked_share_stays(studio: Tab, default_model: StyleModel) -> None:
    page = studio.page
    share = studio.share("Stained glass")
    lock = page.get_by_role("button", name="Lock Stained glass")
    lock.click()
    expect(lock).to_have_attribute("aria-pressed", "true")
    slider = page.get_by_role("slider", name="Stained glass", exact=True)
    expect(slider).to_be_disabled()
    drag_puck(studio, *thumb_place(studio, "Ink hills"))
    assert studio.share("Stained glass") == pytest.approx(share)
    assert studio.share("Ink hills") == pytest.approx(1 - share)
    page.get_by_role("slider", name="Night wind", exact=True).press("End")
    assert studio.share("Stained glass") == pytest.approx(share)
    assert studio.share("Night wind") == pytest.approx(1 - share)
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)


def test_photo_on_the_pad_undoes_the_painting(
    studio: Tab, default_model: StyleModel
) -> None:
    """Towards the photo's point, the style becomes the photo's own."""
    studio.page.get_by_role("button", name="The photo", exact=True).click()
    studio.page.locator("#pad .thumb[title='The photo']").click()
    expect(studio.page.locator("#caption strong")).to_have_text("The photo 100 %")
    own = default_model.embed(GALLERY / "chelsea.jpg", size=SIZE)
    expected = default_model.stylize(studio.canvas("photo"), own)
    studio.wait_for_picture(expected, TOLERANCE)
    # Another photo takes its place.
    studio.page.get_by_role("button", name="Espresso").click()
    expect(studio.page.locator("#photo")).to_have_attribute("aria-label", "Espresso")
    own = default_model.embed(GALLERY / "coffee.jpg", size=SIZE)
    expected = default_model.stylize(studio.canvas("photo"), own)
    studio.wait_for_picture(expected, TOLERANCE)


COUNT_PAINTINGS = """
() => {
  const original = sfumato.stylize;
  window.paintings = { now: 0, most: 0, all: 0, sizes: [] };
  sfumato.stylize = async function (photo, ...others) {
    paintings.all++;
    paintings.sizes.push(Math.min(photo.width, photo.height));
    paintings.most = Math.max(paintings.most, ++paintings.now);
    try {
      return await original.call(this, photo, ...others);
    } finally {
      paintings.now--;
    }
  };
}
"""


def test_drag_of_100_moves(studio: Tab, default_model: StyleModel) -> None:
    """One painting at a time, no tensor left behind, and the last place is painted."""
    page = studio.page
    # Every style is looked at before memory is compared.
    drag_puck(studio, 0.5, 0.5)
    studio.wait_for("painted")
    before = page.evaluate("sfumato.memory()")
    page.evaluate(COUNT_PAINTINGS)
    drag_puck(studio, 0.62, 0.55, steps=100)
    studio.wait_for_picture(expected_mix(studio, default_model), TOLERANCE)
    paintings = page.evaluate("paintings")
    assert paintings["most"] == 1
    assert 1 <= paintings["all"] <= 102
    assert page.evaluate("sfumato.memory()")["tensors"] == before["tensors"]


def test_dragging_paints_drafts_and_release_the_full_size(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    tab.open(f"{site}?backend=wasm&size=256")
    page = tab.page
    full = tab.canvas("painted")
    assert min(full.shape[:2]) == 256
    label = page.locator("#painted-label")
    expect(label).to_have_text("Painted")
    press_at(tab, *tab.place("#pad .puck"))
    page.mouse.move(*tab.on_pad(0.6, 0.4), steps=4)
    expect(label).to_contain_text("Draft", timeout=30_000)
    tab.wait_for("draft")
    draft, photo = tab.canvas("painted"), tab.canvas("photo")
    assert draft.shape == photo.shape
    assert min(draft.shape[:2]) < 256
    assert label.inner_text() == f"Draft, {min(draft.shape[:2])} px"
    page.mouse.up()
    # Styles are looked at anew for pictures as small.
    expected = expected_mix(tab, default_model, photo=photo)
    assert_close(draft / 255, expected / 255, TOLERANCE)
    expect(label).to_have_text("Painted", timeout=60_000)
    tab.wait_for_picture(expected_mix(tab, default_model), TOLERANCE)


def test_page_stays_responsive_while_dragging(
    chromium: Browser, site: str, tmp_path: Path
) -> None:
    """No task of the page's main thread takes 50 ms of its time."""
    with chromium.new_context(service_workers="block") as context:
        tab = Tab(context.new_page()).open(f"{site}?backend=wasm&size=512")
        trace = tmp_path / "trace.json"
        chromium.start_tracing(page=tab.page, path=trace, categories=["toplevel"])
        drag_puck(tab, 0.6, 0.6, steps=100)
        tab.wait_for("painted")
        chromium.stop_tracing()
        assert tab.complaints == []
    tasks = list(main_thread_tasks(json.loads(trace.read_text())["traceEvents"]))
    assert sum(tasks) > 0
    assert max(tasks) < 50


def main_thread_tasks(events: list[dict[str, Any]]) -> Iterator[float]:
    """The processor's time for each task of pages' main threads, in ms."""
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    for event in events:
        if (event["pid"], event["tid"]) in mains and "RunTask" in event["name"]:
            yield event.get("tdur", 0) / 1000


def test_undo_and_redo(studio: Tab) -> None:
    page = studio.page
    undo = page.get_by_role("button", name="Undo")
    redo = page.get_by_role("button", name="Redo")
    expect(undo).to_be_disabled()
    first = studio.canvas("painted")
    puck = studio.place("#pad .puck")
    drag_puck(studio, 0.7, 0.5)
    second = studio.wait_for_other_picture(first)
    page.get_by_role("button", name="Embers").click()
    third = studio.wait_for_other_picture(second)
    undo.click()
    expect(page.get_by_role("slider", name="Embers", exact=True)).to_have_count(0)
    assert (studio.wait_for_other_picture(third) == second).all()
    # A whole drag is one step.
    page.keyboard.press("Control+z")
    assert (studio.wait_for_other_picture(second) == first).all()
    assert studio.place("#pad .puck") == puck
    expect(undo).to_be_disabled()
    page.keyboard.press("Control+Shift+z")
    assert (studio.wait_for_other_picture(first) == second).all()
    redo.click()
    assert (studio.wait_for_other_picture(second) == third).all()
    expect(redo).to_be_disabled()


PARTS = ("embers.jpg", "woodcut.jpg", "crayon.jpg")


def check_joined(
    tab: Tab, model: StyleModel, title: str, pictures: list[np.ndarray]
) -> None:
    tab.page.locator(f"#pad .thumb[title='{title}']").click()
    expect(tab.page.locator("#caption strong")).to_have_text(f"{title} 100 %")
    mean = np.mean([model.embed(picture, size=SIZE) for picture in pictures], axis=0)
    expected = model.stylize(tab.canvas("photo"), mean.astype(np.float32))
    tab.wait_for_picture(expected, TOLERANCE)


def test_several_pictures_are_one_style(studio: Tab, default_model: StyleModel) -> None:
    page = studio.page
    pictures = [sample(name, 120, 120) for name in PARTS]
    page.set_input_files(
        "#style-files",
        [
            upload(f"Munch {index + 1}.png", png(picture))
            for index, picture in enumerate(pictures)
        ],
    )
    expect(page.locator("#message")).to_contain_text(
        "“Munch” is one style now, the mean of 3 pictures."
    )
    check_joined(studio, default_model, "Munch", pictures)
    # It can be given a name, and taken apart again.
    name = page.locator("#styles input[type=text]").last
    name.fill("Edvard")
    name.press("Enter")
    expect(page.get_by_role("slider", name="Edvard", exact=True)).to_have_count(1)
    page.get_by_role("button", name="Make them 3 styles").click()
    for index in range(3):
        slider = page.get_by_role("slider", name=f"Munch {index + 1}", exact=True)
        expect(slider).to_have_count(1)
    expect(page.get_by_role("slider", name="Edvard", exact=True)).to_have_count(0)


def test_folder_is_one_style(
    studio: Tab, default_model: StyleModel, tmp_path: Path
) -> None:
    folder = tmp_path / "Woods"
    (folder / "deeper").mkdir(parents=True)
    pictures = [sample(name, 100, 130) for name in PARTS[:2]]
    (folder / "one.png").write_bytes(png(pictures[0]))
    (folder / "deeper" / "two.png").write_bytes(png(pictures[1]))
    (folder / "notes.txt").write_text("no picture")
    studio.page.set_input_files("#style-folder", folder)
    check_joined(studio, default_model, "Woods", pictures)


def test_fade_and_the_photos_colours(studio: Tab) -> None:
    page = studio.page
    painted, photo = studio.canvas("painted"), studio.canvas("photo")
    fade = page.get_by_role("slider", name="Fade to photo")
    fade.press("End")
    studio.wait_for_picture(photo, (0, 0))
    fade.press("Home")
    studio.wait_for_picture(painted, (0, 0))
    fade.fill("50")
    half = painted.astype(float) + (photo.astype(float) - painted) / 2
    studio.wait_for_picture(half, (1 / 255, 1 / 255))
    fade.press("Home")

    page.get_by_role("checkbox", name="Keep the photo’s colours").check()
    weights = [0.299, 0.587, 0.114]
    change = (painted.astype(float) - photo) @ weights
    expected = np.clip(photo + change[..., None], 0, 255)
    studio.wait_for_picture(expected, (2 / 255, 1 / 255))


def test_style_scale_looks_at_styles_anew(studio: Tab) -> None:
    page = studio.page
    page.locator("#pad .thumb[title='Stained glass']").click()
    expect(page.locator("#caption strong")).to_have_text("Stained glass 100 %")
    studio.wait_for("painted")
    before = studio.canvas("painted")
    scale = page.get_by_role("slider", name="Style scale")
    scale.press("End")
    expect(page.locator("#style-scale-value")).to_have_text("2.00 ×")
    after = studio.wait_for_other_picture(before)
    assert np.abs(after.astype(int) - before).mean() > 3
    scale.fill("100")
    assert (studio.wait_for_other_picture(after) == before).all()


def test_strength_beyond_all(studio: Tab, default_model: StyleModel) -> None:
    page = studio.page
    page.locator("#pad .thumb[title='Ink hills']").click()
    page.get_by_role("slider", name="Strength").press("End")
    embedding = default_model.embed(GALLERY / STYLES["Ink hills"], size=SIZE)
    expected = default_model.stylize(studio.canvas("photo"), embedding, 1.5)
    studio.wait_for_picture(expected, TOLERANCE)


def middle_of(tab: Tab) -> np.ndarray:
    """The colours on the screen in the middle of the picture, uint8 [H, W, 3]."""
    box = tab.page.locator("#frame").bounding_box()
    assert box is not None
    clip: FloatRect = {
        "x": box["x"] + box["width"] * 0.6,
        "y": box["y"] + box["height"] * 0.3,
        "width": box["width"] * 0.2,
        "height": box["height"] * 0.4,
    }
    return decode(tab.page.screenshot(clip=clip))


def test_before_and_after_by_key_button_and_drag(studio: Tab) -> None:
    page = studio.page
    compare = page.get_by_role("slider", name="Before and after")
    both = middle_of(studio)
    page.keyboard.press("1")
    expect(compare).to_have_attribute("aria-valuetext", "100 % photo")
    photo = middle_of(studio)
    assert np.abs(photo.astype(int) - both).mean() > 10
    page.keyboard.press("3")
    expect(compare).to_have_attribute("aria-valuetext", "0 % photo")
    assert (middle_of(studio) == both).all()
    page.get_by_role("button", name="Both").click()
    expect(compare).to_have_attribute("aria-valuetext", "30 % photo")
    box = page.locator("#frame").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(
        box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5, steps=5
    )
    page.mouse.up()
    assert 88 <= int(compare.input_value()) <= 92
    assert (middle_of(studio) == photo).all()
    # Typing is typing.
    page.get_by_role("spinbutton", name="Share of Ink hills, percent").press("1")
    assert 88 <= int(compare.input_value()) <= 92


def test_zoom_and_pan(studio: Tab) -> None:
    page = studio.page
    frame = page.locator("#frame").bounding_box()
    assert frame is not None

    def canvas() -> FloatRect:
        box = page.locator("#painted").bounding_box()
        assert box is not None
        return box

    whole = canvas()
    assert whole["width"] == pytest.approx(frame["width"], abs=1)
    before = middle_of(studio)
    page.get_by_role("button", name="Zoom in").click()
    assert canvas()["width"] == pytest.approx(1.5 * frame["width"], abs=1)
    assert (middle_of(studio) != before).any()
    page.keyboard.press("+")
    assert canvas()["width"] == pytest.approx(2.25 * frame["width"], abs=1)
    zoomed = canvas()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] * 0.25
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    assert canvas()["x"] == pytest.approx(zoomed["x"] + 40, abs=1)
    assert canvas()["y"] == pytest.approx(zoomed["y"] + 30, abs=1)
    page.locator("#frame").press("ArrowRight")
    assert canvas()["x"] < zoomed["x"] + 39
    page.keyboard.press("0")
    assert canvas() == whole
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    studio.wait_until(
        "document.querySelector('#frame').classList.contains('is-zoomed')"
    )
    page.get_by_role("button", name="Zoom out").click()
    page.keyboard.press("0")
    assert canvas() == whole
    assert (middle_of(studio) == before).all()


def test_full_memory_steps_the_size_down_and_says_so(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size={SIZE}")
    page = tab.page
    photo = png(sample("coffee.jpg", 400, 500))
    before = tab.canvas("painted")
    page.set_input_files("#photo-file", upload("Cup.png", photo))
    before = tab.wait_for_other_picture(before)
    # Memory is never so short here that the browser refuses any.
    page.workers[0].evaluate(
        """() => {
          WebAssembly.Memory.prototype.grow = () => { throw new RangeError("full"); };
        }"""
    )
    page.locator("#size").select_option("384")
    expect(page.locator("#message")).to_contain_text(
        "There is not enough memory for 384 px, so it is painted at 192 px.",
        timeout=60_000,
    )
    after = tab.wait_for_other_picture(before)
    assert min(after.shape[:2]) == 192
    expect(page.locator("#size")).to_have_value("192")


def test_engine_that_is_not_to_be_had_leaves_the_one_in_use(
    studio: Tab, default_model: StyleModel
) -> None:
    page = studio.page
    choice = page.locator("#engine-choice")
    choice.select_option("webgpu")
    expect(page.get_by_role("alert")).to_contain_text("WebGPU", timeout=60_000)
    expect(choice).to_have_value("wasm")
    drag_puck(studio, *thumb_place(studio, "Ink hills"))
    embedding = default_model.embed(GALLERY / STYLES["Ink hills"], size=SIZE)
    expected = default_model.stylize(studio.canvas("photo"), embedding)
    studio.wait_for_picture(expected, TOLERANCE)
    choice.select_option("server")
    expect(page.locator("#engine")).to_contain_text("by the server", timeout=60_000)
    expect(page.locator("#where")).to_contain_text("your pictures are sent to it")
    studio.wait_for_picture(expected, TOLERANCE)
