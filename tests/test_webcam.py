"""The camera, painted live, in real Chromium with a camera of its own making."""

import re

import numpy as np
from browser import Tab
from playwright.sync_api import expect


def start(tab: Tab, site: str) -> None:
    tab.page.context.grant_permissions(["camera"])
    tab.open(f"{site}?backend=wasm&size=64")
    tab.page.get_by_role("button", name="Use the camera").click()
    tab.page.wait_for_selector(".live:not([hidden])", timeout=60_000)


def wait_for_frames(tab: Tab, count: int) -> None:
    """Waits until the live picture has changed this often."""
    tab.page.evaluate(
        """(count) => new Promise((resolve) => {
          const canvas = document.querySelector(".live canvas");
          const context = canvas.getContext("2d");
          const draw = context.putImageData;
          let left = count;
          context.putImageData = (...options) => {
            draw.apply(context, options);
            left--;
            if (left > 0) return;
            delete context.putImageData;
            resolve();
          };
        })""",
        count,
    )


def live_picture(tab: Tab) -> np.ndarray:
    tab.page.locator(".live canvas").evaluate("(canvas) => { canvas.id = 'live'; }")
    return tab.canvas("live")


def tracks(tab: Tab) -> str:
    """Records the camera's stream, to see whether it is really off."""
    return tab.page.evaluate("streams.flatMap((s) => s.getTracks())[0].readyState")


SPY = """
window.streams = [];
const original = navigator.mediaDevices.getUserMedia;
navigator.mediaDevices.getUserMedia = async (...options) => {
  const stream = await original.apply(navigator.mediaDevices, options);
  streams.push(stream);
  return stream;
};
"""


def test_camera_is_painted_live_and_stops(tab: Tab, site: str) -> None:
    tab.page.add_init_script(SPY)
    start(tab, site)
    wait_for_frames(tab, 3)
    before = live_picture(tab)
    assert before.std() > 10
    # The camera's picture moves.
    wait_for_frames(tab, 5)
    after = live_picture(tab)
    assert after.shape != before.shape or (after != before).any()
    expect(tab.page.locator(".rate")).to_have_text(
        re.compile(r"^\d+(\.\d)? frames a second, \d+ px$"), timeout=30_000
    )
    # Another mix shows at once.
    ink = tab.page.locator("#pad").get_by_role("button", name="Ink hills")
    saturation = colourfulness(after)
    ink.press("Enter")
    wait_for_frames(tab, 2)
    assert colourfulness(live_picture(tab)) < saturation / 2

    assert tracks(tab) == "live"
    tab.page.get_by_role("button", name="Stop the camera").click()
    expect(tab.page.locator(".live")).to_be_hidden()
    assert tracks(tab) == "ended"
    expect(tab.page.get_by_role("button", name="Use the camera")).to_be_focused()
    # The photo is painted as it was chosen meanwhile.
    expect(tab.page.locator("#caption strong")).to_have_text("Ink hills 100 %")


def colourfulness(picture: np.ndarray) -> float:
    values = picture.astype(float)
    return float((values.max(axis=-1) - values.min(axis=-1)).mean())


def test_snapshot_becomes_the_photo(tab: Tab, site: str) -> None:
    tab.page.add_init_script(SPY)
    start(tab, site)
    before = tab.canvas("painted")
    tab.page.get_by_role("button", name="Take the photo").click()
    expect(tab.page.locator(".live")).to_be_hidden()
    assert tracks(tab) == "ended"
    expect(tab.page.locator("#photo")).to_have_attribute("aria-label", "Snapshot")
    painted = tab.wait_for_other_picture(before)
    photo = tab.canvas("photo")
    # Chromium's camera gives 1280 × 720, mostly green.
    assert photo.shape == painted.shape == (64, 114, 3)
    red, green, blue = np.median(photo, axis=(0, 1))
    assert green > 100 > max(red, blue)
    tab.page.get_by_role("button", name="Undo").click()
    tab.wait_for_picture(before, (0, 0))


def test_refused_camera_is_explained(tab: Tab, site: str) -> None:
    tab.open(f"{site}?backend=wasm&size=32")
    tab.page.get_by_role("button", name="Use the camera").click()
    status = tab.page.locator("#webcam [role=status]")
    expect(status).to_contain_text(
        "The camera was not allowed. Allow it", timeout=30_000
    )
    expect(tab.page.locator(".live")).to_be_hidden()
    tab.page.context.grant_permissions(["camera"])
    tab.page.get_by_role("button", name="Use the camera").click()
    tab.page.wait_for_selector(".live:not([hidden])", timeout=60_000)


def test_hundred_frames_leave_memory_flat(tab: Tab, site: str) -> None:
    devtools = tab.page.context.new_cdp_session(tab.page)

    def heap() -> float:
        """Of the page, in MB."""
        devtools.send("HeapProfiler.collectGarbage")
        return devtools.send("Runtime.getHeapUsage")["usedSize"] / 2**20

    start(tab, site)
    wait_for_frames(tab, 20)
    tensors, megabytes = tab.page.evaluate("sfumato.memory()"), heap()
    wait_for_frames(tab, 100)
    after = tab.page.evaluate("sfumato.memory()")
    assert after["tensors"] == tensors["tensors"] > 0
    assert heap() < megabytes + 2
