"""Take the pictures of pages that the documentation shows: `python scripts/take_pictures.py`.

Needs Chromium. What a learned machine predicts differs: run it with an empty TPDEPLOY_HOME.
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from threading import Thread

from PIL import Image
from playwright.sync_api import Browser, Playwright, ViewportSize, sync_playwright

from tpdeploy.cli.ui.server import server

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WINDOWS = {
    "phone": ViewportSize(width=390, height=844),
    "desktop": ViewportSize(width=1280, height=860),
}
PLAN = ("plan", "llama-70b", "--gpus", "8xH100")
COLOURS = 48  # as many as letters and bars need


def program() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(which, PROGRAMS)), None)


def launched(playwright: Playwright, found: str) -> Browser:
    """The browser `found`, without a window; it has no sandbox for root."""
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=alone)


@contextmanager
def addresses() -> Iterator[dict[str, str]]:
    """Where each page is, by its name."""
    with tempfile.TemporaryDirectory() as folder, server("127.0.0.1", 0) as serving:
        report, kept = Path(folder, "report.html"), Path(folder, "plan.yaml")
        _python("scripts/build_site.py")
        _python("-m", "tpdeploy", *PLAN, "-o", str(kept), "--report", str(report))
        Thread(target=serving.serve_forever).start()
        yield {
            "report": report.as_uri(),
            "ui": f"http://127.0.0.1:{serving.server_port}/",
            "site": (ROOT / "site" / "docs" / "README.html").as_uri(),
        }
        serving.shutdown()


def _python(*words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def take(browser: Browser, address: str, window: ViewportSize) -> bytes:
    """What of the page is seen first, as a PNG of few colours."""
    page = browser.new_page(viewport=window)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    taken = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    small = io.BytesIO()
    taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()


def main() -> int:
    """Take each page in each window."""
    found = program()
    if found is None:
        print("no Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with addresses() as pages, sync_playwright() as playwright:
        browser = launched(playwright, found)
        for name, address in pages.items():
            for size, window in WINDOWS.items():
                (PICTURES / f"{name}-{size}.png").write_bytes(take(browser, address, window))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
