"""The page of a report, as it is seen on a phone, on a desk and on paper."""

import re
from datetime import UTC, datetime
from functools import cache
from math import ceil
from pathlib import Path

import pytest

from tests.browser.looks import DESKTOP, PHONE, SIZES, Look, is_tidy, resize, size_of
from tests.cli.test_report import LOAD, planned
from tests.harness.sweeps import sweep
from tpdeploy.cli.report.content import gather
from tpdeploy.cli.report.page import render
from tpdeploy.planner.workload import Target, Workload

UNFOLD = "(open) => document.querySelectorAll('details').forEach((each) => { each.open = open; })"
# What a page of A4 has room for within the margins of the style sheet, in pixels of 1/96 inch.
PAPER = (673, 1001)
MEASURED = {
    "validate": [(2, 0.15, 190)],
    "sweep": [(1, 0.1, 100), (2, 0.15, 190), (4, 0.3, 300), (8, 0.31, 520), (16, 9.0, 530)],
}
# Requests that wait, splits with long names, and a rate that can be exceeded, with a target.
PLANS = {
    "plan": (LOAD, "llama-8b", "2xH100"),
    "waiting": (Workload(concurrency=64), "qwen3-32b", "4xL40S"),
    "rate": (Workload(rate=9, ttft=Target(ms=900)), "llama-8b", "1xH100"),
}
KINDS = (*PLANS, *MEASURED)


@cache
def text(kind: str) -> str:
    """The whole page."""
    question, made = planned(*PLANS.get(kind, PLANS["plan"]))
    measured = sweep(MEASURED[kind], made) if kind in MEASURED else None
    return render(gather(question, made, measured), datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A report on disk."""
    file = tmp_path / f"{request.param}.html"
    file.write_text(text(request.param), encoding="utf-8")
    return file.as_uri()


def test_nothing_overlaps_or_is_cut(address: str, look: Look) -> None:
    """Folded and unfolded, on a phone and on a desk; and it asks for nothing but itself."""
    page = look.at(address)
    for unfolded in (False, True):
        page.evaluate(UNFOLD, unfolded)
        for size in SIZES:
            resize(page, size)
            is_tidy(page)
    assert look.asked == [address]
    assert look.complaints == []


def test_it_is_read_in_a_few_screens(address: str, look: Look) -> None:
    """On a phone under four, on a desk under three; the answer and the splits on the first."""
    page = look.at(address)
    for screens, size in ((4, PHONE), (3, DESKTOP)):
        resize(page, size)
        tall = size[1]
        assert size_of(page)[1] < screens * tall
        headline = page.locator("h1").bounding_box()
        bars = page.locator(".bars, .why").first.bounding_box()
        assert headline and headline["y"] < tall / 4
        assert bars and bars["y"] < tall


def test_paper_is_filled(address: str, look: Look) -> None:
    """Details are unfolded, and pages break where little is lost."""
    page = look.at(address)
    resize(page, PAPER)
    page.emulate_media(media="print")
    assert page.locator(".pairs").is_visible()
    is_tidy(page)
    needed = size_of(page)[1] / PAPER[1]
    pages = len(re.findall(rb"/Type /Page\b", page.pdf(prefer_css_page_size=True, format="A4")))
    assert needed > 1
    assert pages <= ceil(needed + 0.4)
