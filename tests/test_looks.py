"""How the page looks and what it is like to open: screenshots, axe, first paint."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from browser import ARTEFACTS, DIST, WEB, Tab
from conftest import running
from playwright.sync_api import Browser, Page, Route, expect

from server import create_app

SIZES = {360: 740, 768: 1024, 1440: 900, 2560: 1440}
Scheme = Literal["light", "dark"]


@contextmanager
def new_tab(chromium: Browser, **options: Any) -> Iterator[Tab]:
    with chromium.new_context(service_workers="block", **options) as context:
        yield Tab(context.new_page())


def shoot(page: Page, state: str, scheme: str) -> None:
    """The page in this state at every width, as artefacts; nothing sticks out."""
    ARTEFACTS.mkdir(exist_ok=True)
    for width, height in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow == 0, f"{state} at {width} px"
        # Transitions of what the new size moved.
        page.evaluate(
            "Promise.all(document.getAnimations().map((one) => one.finished))"
        )
        name = f"page-{state}-{width}-{scheme}.png"
        page.screenshot(path=ARTEFACTS / name, full_page=width == 360)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, with the elements."""
    source = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page.evaluate(source + "\n;undefined")
    found = page.evaluate(
        """async () => {
          await Promise.all(document.getAnimations().map((one) => one.finished));
          return (await axe.run()).violations;
        }"""
    )
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_states_look_right_and_are_accessible(
    chromium: Browser, site: str, scheme: Scheme
) -> None:
    """Empty, painted, painting and failed, without any violation that axe knows."""
    # The browser itself writes the failed request to the console.
    with new_tab(chromium, color_scheme=scheme) as tab:
        page = tab.page
        held: list[Route] = []
        page.route("**/decoder/*.bin*", lambda route: held.append(route))
        page.route("**/gallery/*", lambda route: held.append(route))
        page.goto(f"{site}?backend=wasm&size=256")
        page.wait_for_selector("text=/Downloading the model: [0-9.]+ of [0-9.]+ MB/")
        shoot(page, "empty", scheme)
        assert violations(page) == []
        # It lets go of what it held.
        page.unroute_all()

        tab.wait_for("painted")
        shoot(page, "painted", scheme)
        assert violations(page) == []

        page.locator("#engine-choice").select_option("server")
        expect(page.locator("#engine")).to_contain_text("by the server", timeout=60_000)
        tab.wait_for("painted")
        # From here on the server takes as long as the test wants it to.
        held.clear()
        page.route("**/api/stylize", lambda route: held.append(route))
        page.get_by_role("slider", name="Strength").press("End")
        tab.wait_for("painting")
        expect(page.locator("#work")).to_be_visible()
        shoot(page, "painting", scheme)
        assert violations(page) == []

        painted = tab.canvas("painted")
        page.route("**/api/stylize", lambda route: route.fulfill(status=503))
        for route in held:
            route.fulfill(status=503)
        tab.wait_for("error")
        expect(page.get_by_role("alert")).not_to_be_empty()
        shoot(page, "failed", scheme)
        assert violations(page) == []
        assert (tab.canvas("painted") == painted).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_opened_is_accessible(
    chromium: Browser, site: str, scheme: Scheme
) -> None:
    with new_tab(
        chromium, color_scheme=scheme, viewport={"width": 1440, "height": 900}
    ) as tab:
        tab.open(f"{site}?backend=wasm&size=64")
        page = tab.page
        for summary in page.locator("summary").all():
            summary.click()
        page.get_by_role("button", name="Lock Ink hills").click()
        page.get_by_role("button", name="Zoom in").click()
        page.locator(".map button, .map img").first.wait_for(state="attached")
        tab.wait_for("painted")
        assert violations(page) == []
        page.screenshot(
            path=ARTEFACTS / f"page-opened-1440-{scheme}.png", full_page=True
        )
        assert tab.complaints == []


WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) shifts.push({
    value: entry.value,
    sources: entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80)),
  });
}).observe({ type: "layout-shift", buffered: true });
"""


def assert_nothing_moves(chromium: Browser, address: str, width: int) -> None:
    with new_tab(chromium, viewport={"width": width, "height": SIZES[width]}) as tab:
        tab.page.add_init_script(WATCH)
        tab.open(f"{address}?backend=wasm&size=64")
        assert tab.page.evaluate("shifts") == []
        assert tab.complaints == []


@pytest.mark.parametrize("width", SIZES)
def test_nothing_moves_while_the_model_loads(
    chromium: Browser, site: str, width: int
) -> None:
    assert_nothing_moves(chromium, site, width)


@pytest.mark.parametrize("width", SIZES)
def test_nothing_moves_while_the_page_comes_in_pieces(
    chromium: Browser, width: int
) -> None:
    app = create_app({"DIST": DIST})
    whole = app.wsgi_app
    page = (DIST / "index.html").read_bytes()

    def pieces() -> Iterator[bytes]:
        for piece in re.findall(rb".{1,400}", page, re.DOTALL):
            yield piece
            time.sleep(0.05)

    def slowly(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/":
            return whole(environ, start)
        start("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return pieces()

    app.wsgi_app = slowly  # type: ignore[assignment]
    with running(app) as address:
        assert_nothing_moves(chromium, f"{address}/", width)


def test_first_paint_comes_within_a_second(chromium: Browser, site: str) -> None:
    """On localhost; the best of three, for the machine may be busy."""
    times = []
    for _ in range(3):
        with new_tab(chromium) as tab:
            tab.page.goto(f"{site}?backend=wasm&size=32")
            tab.wait_until(
                "performance.getEntriesByName('first-contentful-paint').length"
            )
            times.append(
                tab.page.evaluate(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
            )
    assert min(times) < 1000


def test_reduced_motion_is_honoured(chromium: Browser, site: str) -> None:
    with new_tab(chromium, reduced_motion="reduce") as tab:
        tab.open(f"{site}?backend=wasm&size=32")
        moving = tab.page.evaluate(
            """[...document.querySelectorAll("*")].filter((element) => {
              const { transitionDuration, animationDuration, animationName } =
                getComputedStyle(element);
              return parseFloat(transitionDuration) > 0 ||
                (animationName !== "none" && parseFloat(animationDuration) > 0.001);
            }).map((element) => element.outerHTML.slice(0, 80))"""
        )
        assert moving == []
        assert tab.complaints == []
