"""Paths through the styles, in real Chromium: drawn, played and saved."""

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import HELPERS, Tab
from PIL import Image, ImageSequence
from playwright.sync_api import Locator, Route, expect


def open_path(tab: Tab, site: str, size: int = 48) -> Locator:
    tab.open(f"{site}?backend=wasm&size={size}")
    tab.page.locator("#path-section summary").click()
    return tab.page.locator("#path")


def press(tab: Tab, name: str) -> None:
    tab.page.get_by_role("button", name=name, exact=True).click()


def draw(tab: Tab, *points: tuple[float, float]) -> None:
    """Draws a line on the pad through these points."""
    press(tab, "Draw on the pad")
    expect(tab.page.get_by_text("Now draw a line on the pad.")).to_be_visible()
    mouse = tab.page.mouse
    mouse.move(*tab.on_pad(*points[0]))
    mouse.down()
    for point in points[1:]:
        mouse.move(*tab.on_pad(*point), steps=10)
    mouse.up()
    expect(tab.page.get_by_text("The path is drawn.")).to_be_visible()


def puck(tab: Tab) -> tuple[float, float]:
    return tab.place("#pad .puck")


def speed_up(tab: Tab) -> None:
    speed = tab.page.get_by_role("slider", name="Speed")
    speed.press("End")
    expect(speed).to_have_attribute("aria-valuetext", "4 ×, 1.5 s")


def picture_at(tab: Tab, x: float, y: float) -> np.ndarray:
    """What is painted with the puck there."""
    before = tab.canvas("painted")
    tab.page.mouse.click(*tab.on_pad(x, y))
    return tab.wait_for_other_picture(before)


def test_drawn_path_is_played_to_its_end_and_undone(tab: Tab, site: str) -> None:
    open_path(tab, site)
    start = tab.canvas("painted")
    # On no style's own place.
    draw(tab, (0.5, 0.55), (0.55, 0.15), (0.9, 0.6))
    assert puck(tab) == pytest.approx((0.9, 0.6), abs=0.01)
    end = tab.wait_for_other_picture(start)
    speed_up(tab)
    seen = tab.page.evaluate_handle(
        """() => {
          const puck = document.querySelector("#pad .puck");
          const seen = [];
          new MutationObserver(() => {
            seen.push([parseFloat(puck.style.left), parseFloat(puck.style.top)]);
          }).observe(puck, { attributeFilter: ["style"] });
          return seen;
        }"""
    )
    press(tab, "Play")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible(
        timeout=30_000
    )
    places = np.array(seen.json_value()) / 100
    # Along both legs, at one speed.
    assert places[0] == pytest.approx([0.5, 0.5], abs=0.15)
    assert places[-1] == pytest.approx([0.9, 0.6], abs=0.01)
    assert places[:, 1].min() < 0.3
    assert puck(tab) == pytest.approx((0.9, 0.6), abs=0.01)
    tab.wait_for_picture(end, (0, 0))
    press(tab, "Undo")
    press(tab, "Undo")
    tab.wait_for_picture(start, (0, 0))


def test_playing_can_be_stopped_and_goes_there_and_back(tab: Tab, site: str) -> None:
    open_path(tab, site)
    draw(tab, (0.2, 0.6), (0.8, 0.6))
    end = tab.canvas("painted")
    speed_up(tab)
    tab.page.get_by_label("There and back, again and again").check()
    press(tab, "Play")
    # To the end and back again, twice.
    for _ in range(2):
        for edge in ("> 70", "< 30"):
            tab.wait_until(
                f"parseFloat(document.querySelector('#pad .puck').style.left) {edge}",
            )
    press(tab, "Stop")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    stopped = puck(tab)
    assert stopped[1] == pytest.approx(0.6, abs=0.01)
    painted = tab.wait_for_other_picture(end)
    tab.page.wait_for_timeout(200)
    assert puck(tab) == stopped
    assert (tab.canvas("painted") == painted).all()
    # The pad reacts again.
    tab.page.mouse.click(*tab.on_pad(0.5, 0.5))
    assert puck(tab) == pytest.approx((0.5, 0.5), abs=0.01)


def test_path_is_made_by_keyboard(tab: Tab, site: str) -> None:
    open_path(tab, site)
    add = tab.page.get_by_role("button", name="Add the puck’s place")
    across = tab.page.locator("#pad").get_by_role("slider").first
    start = puck(tab)
    add.press("Enter")
    for _ in range(10):
        across.press("ArrowRight")
    end = puck(tab)
    add.press("Enter")
    expect(tab.page.get_by_text("2 places.")).to_be_visible()
    speed_up(tab)
    tab.page.get_by_role("button", name="Play", exact=True).press("Enter")
    left = "parseFloat(document.querySelector('#pad .puck').style.left)"
    tab.wait_until(f"{left} < {100 * end[0] - 1}")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible(
        timeout=30_000
    )
    assert puck(tab) == pytest.approx(end, abs=0.01)
    assert start != end


def test_path_on_the_map_opens_it(tab: Tab, site: str) -> None:
    open_path(tab, site)
    before = tab.canvas("painted")
    press(tab, "Draw on the map")
    expect(tab.page.get_by_text("Now draw a line on the map.")).to_be_visible(
        timeout=60_000
    )
    chart = tab.page.locator(".map")
    mouse = tab.page.mouse
    for index, (x, y) in enumerate([(0.2, 0.4), (0.5, 0.5), (0.8, 0.3)]):
        box = chart.bounding_box()
        assert box
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if index == 0:
            mouse.down()
    mouse.up()
    expect(tab.page.get_by_text("The path is drawn.")).to_be_visible()
    assert tab.place(".map-puck") == pytest.approx((0.8, 0.3), abs=0.02)
    tab.wait_for_other_picture(before)
    speed_up(tab)
    press(tab, "Play")
    tab.wait_until("parseFloat(document.querySelector('.map-puck').style.left) < 50")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible(
        timeout=30_000
    )
    assert tab.place(".map-puck") == pytest.approx((0.8, 0.3), abs=0.02)


def test_slip_of_the_pointer_is_no_path(tab: Tab, site: str) -> None:
    open_path(tab, site, size=32)
    press(tab, "Draw on the pad")
    tab.page.mouse.click(*tab.on_pad(0.3, 0.3))
    expect(tab.page.get_by_text("That was too short.")).to_be_visible()
    tab.page.keyboard.press("Escape")
    button = tab.page.get_by_role("button", name="Draw on the pad")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_disabled()


def saved(tab: Tab, name: str, folder: Path) -> Path:
    with tab.page.expect_download(timeout=120_000) as download:
        press(tab, name)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_path_is_saved_as_gif_and_webm(tab: Tab, site: str, tmp_path: Path) -> None:
    open_path(tab, site)
    first = picture_at(tab, 0.55, 0.15)
    draw(tab, (0.55, 0.15), (0.9, 0.6))
    tab.wait_for("painted")
    last = tab.wait_for_other_picture(first)
    speed_up(tab)

    path = saved(tab, "Save as GIF", tmp_path)
    with Image.open(path) as image:
        frames = [
            np.asarray(frame.convert("RGB")).astype(int)
            for frame in ImageSequence.Iterator(image)
        ]
        assert image.format == "GIF"
        assert image.info["duration"] == 80
    assert len(frames) == 19
    for frame, expected in ((frames[0], first), (frames[-1], last)):
        # 256 colours.
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).mean() < 6
    assert np.abs(frames[0] - frames[-1]).mean() > 12
    expect(tab.page.get_by_text("Saved 19 frames")).to_be_visible()

    path = saved(tab, "Save as WebM", tmp_path)
    assert path.suffix == ".webm"
    duration, frames = watched(tab, path)
    assert duration == pytest.approx(19 * 0.08, abs=0.1)
    for frame, expected in ((frames[0], first), (frames[1], last)):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 12
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 12


def watched(tab: Tab, path: Path) -> tuple[float, list[np.ndarray]]:
    """How long a video is, in seconds, and its first and last frames."""
    page = tab.page.context.new_page()
    page.add_init_script(HELPERS)

    def answer(route: Route) -> None:
        if route.request.url.endswith(".webm"):
            route.fulfill(body=path.read_bytes(), content_type="video/webm")
        else:
            route.fulfill(body="<video src='a.webm' muted>", content_type="text/html")

    page.route("http://video.test/**", answer)
    page.goto("http://video.test/")
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    seconds, *frames = page.evaluate(
        """async () => {
          const video = document.querySelector("video");
          const shown = () => {
            const { videoWidth: width, videoHeight: height } = video;
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(video, 0, 0);
            const { data } = context.getImageData(0, 0, width, height);
            return { width, height, data: test.encode(data) };
          };
          const first = shown();
          const ended = new Promise((resolve) => { video.onended = resolve; });
          await video.play();
          await ended;
          return [video.duration, first, shown()];
        }"""
    )
    page.close()
    return seconds, [pixels(frame) for frame in frames]


def pixels(frame: dict[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(frame["data"]), np.uint8)
    return data.reshape(frame["height"], frame["width"], 4)[..., :3]


def test_saving_can_be_cancelled(tab: Tab, site: str) -> None:
    open_path(tab, site, size=128)
    draw(tab, (0.2, 0.6), (0.8, 0.6))
    press(tab, "Save as GIF")
    later_frame = re.compile(r"Painting frame (?!1 )\d+ of 75")
    expect(tab.page.get_by_text(later_frame)).to_be_visible(timeout=60_000)
    assert tab.page.locator("#path progress").evaluate("(bar) => bar.value > 0")
    tab.page.locator("#path").get_by_role("button", name="Cancel").click()
    expect(tab.page.get_by_text("Cancelled.")).to_be_visible()
    expect(tab.page.get_by_role("button", name="Save as GIF")).to_be_enabled()
    before = tab.canvas("painted")
    tab.page.mouse.click(*tab.on_pad(0.5, 0.5))
    tab.wait_for_other_picture(before)
