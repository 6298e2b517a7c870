"""The map of the style space and its directions, in real Chromium."""

import json
from typing import NamedTuple

import numpy as np
import pytest
from browser import GALLERY, TOLERANCES, Tab, png, sample, upload
from playwright.sync_api import Browser, Locator, expect

from sfumato.model import StyleModel, mix

FLOAT16 = TOLERANCES["float16"]
# Of the shorter side of what is painted, in pixels.
SIZE = 48


class Known(NamedTuple):
    title: str
    embedding: np.ndarray


@pytest.fixture(scope="module")
def gallery(default_model: StyleModel) -> list[Known]:
    """The gallery's styles, in its order."""
    samples = json.loads((GALLERY / "gallery.json").read_text())
    return [
        Known(sample["title"], default_model.embed(GALLERY / sample["file"], size=SIZE))
        for sample in samples
        if sample["kind"] == "style"
    ]


def open_map(tab: Tab, site: str) -> Locator:
    tab.open(f"{site}?backend=wasm&size={SIZE}")
    tab.page.locator("#explore-section summary").click()
    tab.page.wait_for_selector(".map img", timeout=60_000)
    tab.page.locator(".map").scroll_into_view_if_needed()
    return tab.page.locator(".map")


def places(tab: Tab) -> dict[str, np.ndarray]:
    """Where the styles lie on the map, 0 to 1, by title."""
    found = tab.page.locator(".map img").evaluate_all(
        """(images) => images.map(({ title, style }) =>
             [title, parseFloat(style.left) / 100, parseFloat(style.top) / 100])"""
    )
    return {title: np.array([x, y]) for title, x, y in found}


def puck(tab: Tab) -> np.ndarray:
    return np.array(tab.place(".map-puck"))


def on_screen(chart: Locator, place: np.ndarray) -> tuple[float, float]:
    box = chart.bounding_box()
    assert box
    return box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]


def shares_at(
    place: np.ndarray, styles: dict[str, np.ndarray]
) -> list[tuple[str, float]]:
    """By the inverse squared distance, without the tiny ones; largest first."""
    pulls = {
        title: 1 / np.sum((place - position) ** 2) for title, position in styles.items()
    }
    least = 0.02 * sum(pulls.values())
    kept = {title: pull for title, pull in pulls.items() if pull >= least}
    total = sum(kept.values())
    return sorted(
        ((title, pull / total) for title, pull in kept.items()),
        key=lambda share: -share[1],
    )


def painting_at(
    tab: Tab, model: StyleModel, gallery: list[Known], place: np.ndarray
) -> np.ndarray:
    embeddings = {known.title: known.embedding for known in gallery}
    shares = shares_at(place, places(tab))
    mixed = mix([(embeddings[title], share) for title, share in shares])
    return model.stylize(tab.canvas("photo"), mixed)


def test_styles_place_on_the_map_paints_that_style_alone(
    tab: Tab, site: str, default_model: StyleModel, gallery: list[Known]
) -> None:
    chart = open_map(tab, site)
    photo = tab.canvas("photo")
    known = next(known for known in gallery if known.title == "Embers")
    tab.page.mouse.click(*on_screen(chart, places(tab)["Embers"]))
    tab.wait_for_picture(default_model.stylize(photo, known.embedding), FLOAT16)
    expect(tab.page.locator(".nearest")).to_have_text("Nearest: Embers 100 %")
    expect(tab.page.locator("#caption strong")).to_have_text("Like Embers 100 %")


def test_dragging_on_the_map_paints_styles_between_and_can_be_undone(
    tab: Tab, site: str, default_model: StyleModel, gallery: list[Known]
) -> None:
    chart = open_map(tab, site)
    before = tab.canvas("painted")
    mouse = tab.page.mouse
    # The list of styles above the map grows with the first press.
    mouse.move(*on_screen(chart, np.array([0.2, 0.2])))
    mouse.down()
    for step in np.linspace(0.2, 0.6, 9):
        mouse.move(*on_screen(chart, np.array([step, step * 0.9])))
    end = on_screen(chart, np.array([0.6, 0.55]))
    mouse.move(*end)
    mouse.up()
    place = puck(tab)
    assert place == pytest.approx([0.6, 0.55], abs=0.02)
    assert on_screen(chart, place) == pytest.approx(end, abs=4)
    tab.wait_for_picture(painting_at(tab, default_model, gallery, place), FLOAT16)
    # The page rounds halves up, Python to even.
    named = ", ".join(
        f"{title} {int(100 * share + 0.5)} %"
        for title, share in shares_at(place, places(tab))[:3]
    )
    expect(tab.page.locator(".nearest")).to_have_text(f"Nearest: {named}")

    tab.page.get_by_role("button", name="Undo").click()
    tab.wait_for_picture(before, FLOAT16)
    tab.page.get_by_role("button", name="Redo").click()
    assert puck(tab) == pytest.approx(place)
    tab.wait_for_picture(painting_at(tab, default_model, gallery, place), FLOAT16)


def test_map_works_by_keyboard(
    tab: Tab, site: str, default_model: StyleModel, gallery: list[Known]
) -> None:
    open_map(tab, site)
    group = tab.page.get_by_role("group", name="Map of styles")
    across = group.get_by_role("slider", name="Left to right")
    down = group.get_by_role("slider", name="Top to bottom")
    across.focus()
    for _ in range(15):
        tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Home")
    place = puck(tab)
    assert place == pytest.approx([0.65, 0])
    first = shares_at(place, places(tab))[0][0]
    for slider in (across, down):
        assert (slider.get_attribute("aria-valuetext") or "").startswith(f"{first} ")
    tab.wait_for_picture(painting_at(tab, default_model, gallery, place), FLOAT16)


def test_map_works_by_touch(
    chromium: Browser, site: str, default_model: StyleModel, gallery: list[Known]
) -> None:
    with chromium.new_context(
        has_touch=True,
        is_mobile=True,
        viewport={"width": 390, "height": 760},
        service_workers="block",
    ) as context:
        tab = Tab(context.new_page())
        chart = open_map(tab, site)
        touch = context.new_cdp_session(tab.page)

        def send(kind: str, place: np.ndarray | None = None) -> None:
            points = []
            if place is not None:
                x, y = on_screen(chart, place)
                points = [{"x": x, "y": y}]
            touch.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )

        send("touchStart", np.array([0.3, 0.8]))
        for step in np.linspace(0.8, 0.4, 5):
            send("touchMove", np.array([0.3, step]))
        send("touchEnd")
        place = puck(tab)
        assert place == pytest.approx([0.3, 0.4], abs=0.02)
        tab.wait_for_picture(painting_at(tab, default_model, gallery, place), FLOAT16)
        assert tab.complaints == []


def test_own_style_takes_its_place_on_the_map(
    tab: Tab, site: str, default_model: StyleModel
) -> None:
    chart = open_map(tab, site)
    own = sample("nagasaki-boats.jpg", 120, 120)
    tab.page.set_input_files("#style-files", upload("My boats.png", png(own)))
    tab.page.wait_for_selector('.map img[title="My boats"]', timeout=60_000)
    chart.scroll_into_view_if_needed()
    tab.page.mouse.click(*on_screen(chart, places(tab)["My boats"]))
    photo = tab.canvas("photo")
    tab.wait_for_picture(
        default_model.stylize(photo, default_model.embed(own, size=SIZE)), FLOAT16
    )
    tab.page.get_by_role("button", name="Remove My boats").click()
    expect(tab.page.locator('.map img[title="My boats"]')).to_have_count(0)


def test_directions_are_those_of_largest_variance(
    tab: Tab, site: str, default_model: StyleModel, gallery: list[Known]
) -> None:
    open_map(tab, site)
    embeddings = np.stack([known.embedding for known in gallery]).astype(np.float64)
    centred = embeddings - embeddings.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    for direction in directions:
        direction *= np.sign(direction[np.abs(direction).argmax()])
    deviations = lengths / np.sqrt(len(gallery) - 1)

    # Alone, so that the mix is known.
    tab.page.locator("#pad").get_by_role("button", name="Night wind").press("Enter")
    start = gallery[0].embedding
    photo = tab.canvas("photo")
    tab.wait_for_picture(default_model.stylize(photo, start), FLOAT16)
    sliders = tab.page.locator(".direction input")
    assert sliders.count() == 3
    moved = start.astype(np.float64)
    for index, key in enumerate(["End", "Home"]):
        sliders.nth(index).press(key)
        offset = float(sliders.nth(index).input_value())
        assert abs(offset) == 2.5
        moved += offset * deviations[index] * directions[index]
    tab.wait_for_picture(
        default_model.stylize(photo, moved.astype(np.float32)), FLOAT16
    )
    label = sliders.first.get_attribute("aria-label") or ""
    scores = centred @ directions[0]
    low, high = gallery[scores.argmin()].title, gallery[scores.argmax()].title
    assert label == f"From {low} to {high}"

    tab.page.get_by_role("button", name="Back to the middle").click()
    tab.wait_for_picture(default_model.stylize(photo, start), FLOAT16)
