"""The report in a real browser: nothing on its console, every section on the screen, in both colour schemes.

Chromium draws the page in a folder of its own, without a network. A copy of the page carries a script that measures
it: the page itself has none.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localcluster.tools import BROWSERS
from PIL import Image

from alrun.api import paths
from alrun.steps import report
from tests.unit.report_worlds import ReportWorld

WIDTH = 1100
SECTIONS = ["curve", "control", "classes", "space", "training", "cost", "picked", "provenance"]
CONSOLE = re.compile(r":CONSOLE[:(].*?\] (.*)$", re.MULTILINE)
"""What the page says on its console, in Chromium's own log."""
PROBE = """
<script>
const box = element => {
  const {x, y, width, height} = element.getBoundingClientRect();
  return [x, y, width, height].map(Math.round);
};
const found = {
  height: document.documentElement.scrollHeight,
  width: document.documentElement.scrollWidth,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  headings: Object.fromEntries([...document.querySelectorAll("h2[id]")].map(one => [one.id, box(one)])),
  drawings: [...document.querySelectorAll("svg")].map(one => [one.getAttribute("aria-label"), ...box(one)]),
  dots: [...document.querySelectorAll("svg circle")].filter(one => one.checkVisibility()).length,
  titles: document.querySelectorAll("svg title").length,
  pictures: [...document.images].map(one => one.complete && one.naturalWidth),
};
const place = document.createElement("pre");
place.id = "probe";
place.textContent = JSON.stringify(found);
document.body.append(place);
</script>
"""


@dataclass
class Browser:
    """Chromium, without a window."""

    program: str
    folder: Path

    def __call__(self, page: Path, *options: str, height: int = 1000) -> tuple[str, list[str]]:
        """Load a page; what Chromium prints, and what the page says on its console."""
        command = [
            self.program,
            "--headless=new",
            "--no-sandbox",  # it may be root here, and what it loads is ours
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={self.folder / 'profile'}",
            f"--window-size={WIDTH},{height}",
            *options,
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, CONSOLE.findall(done.stderr)

    def measured(self, page: Path, *options: str) -> tuple[dict[str, Any], list[str]]:
        """What the probe found, and what was said on the console."""
        probed = page.with_name(f"probed-{page.name}")
        probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
        dom, said = self(probed, "--dump-dom", *options)
        found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
        assert found is not None, dom[-2000:]
        value: dict[str, Any] = json.loads(html.unescape(found[1]))
        return value, said

    def screenshot(self, page: Path, height: int, *options: str) -> np.ndarray:
        """[height, width, 3] the page as it is drawn."""
        target = self.folder / f"{page.stem}.png"
        _, said = self(page, f"--screenshot={target}", *options, height=height)
        assert said == []
        with Image.open(target) as image:
            return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    program = os.environ.get("ALRUN_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        message = f"no browser: ALRUN_BROWSER names none, and none of {', '.join(BROWSERS)} is on the PATH"
        if os.environ.get("ALRUN_REQUIRE_TOOLS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return Browser(program, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of four cycles with a comparison arm."""
    world = ReportWorld(tmp_path_factory.mktemp("run"))
    report.run(world.report(stop_reason="CyclesDone", labels_budget={"images": 100}))
    return world.world.file(paths.REPORT)


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"


def test_everything_is_on_the_screen(browser: Browser, page: Path) -> None:
    found, said = browser.measured(page, LIGHT)
    assert said == []
    assert list(found["headings"]) == SECTIONS
    tops = [top for _, top, _, _ in found["headings"].values()]
    assert tops == sorted(set(tops))
    assert all(width > 50 and height > 10 for _, _, width, height in found["headings"].values())
    assert found["width"] <= WIDTH  # nothing sticks out to the side
    assert all(label for label, *_ in found["drawings"])
    assert all(width > 10 and height > 10 for _, _, _, width, height in found["drawings"])
    assert found["dots"] == 2 * (4 + 4) + 80  # both curves in both charts, and the picks on the map
    assert found["titles"] >= found["dots"]
    assert found["pictures"]
    assert all(width > 0 for width in found["pictures"])


def test_nothing_sticks_out_on_a_telephone(browser: Browser, page: Path) -> None:
    found, said = browser.measured(page, LIGHT, "--window-size=520,900")
    assert said == []
    assert found["width"] <= 520


@pytest.mark.parametrize(("scheme", "dark"), [(LIGHT, False), (DARK, True)])
def test_it_is_drawn_and_can_be_read_in_both_schemes(browser: Browser, page: Path, scheme: str, dark: bool) -> None:
    found, _ = browser.measured(page, scheme)
    ground, ink = luminance(found["ground"]), luminance(found["ink"])
    assert (ground < ink) is dark
    assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 7  # WCAG AAA
    pixels = browser.screenshot(page, found["height"], scheme)
    assert pixels.shape[1] == WIDTH
    for label, x, y, width, height in found["drawings"]:
        drawn = pixels[max(y, 0) : y + height, x : x + width].reshape(-1, 3)
        assert len(drawn) == 0 or len(np.unique(drawn, axis=0)) > 1, label
    for name, (x, y, width, height) in found["headings"].items():
        assert len(np.unique(pixels[y : y + height, x : x + width].reshape(-1, 3), axis=0)) > 1, name


def test_what_would_be_wrong_is_noticed(browser: Browser, tmp_path: Path) -> None:
    """That nothing is said on the console means something only if Chromium's log shows what is."""
    page = tmp_path / "wrong.html"
    page.write_text('<!doctype html><body><svg><circle cx="middle"/></svg><script>console.warn("careful")</script></body>')
    _, said = browser(page, "--dump-dom")
    assert len(said) == 2
    assert "attribute cx: Expected length" in said[0]
    assert "careful" in said[1]
