"""Errors of what was left out of a fit: the page shows what was found."""

from benchmarks.blind import Median
from benchmarks.left_out import BEGIN, END, KEPT, PAGE, Judged, LeftOut, page
from tpdeploy.records import read_record


def test_the_page_shows_what_was_left_out() -> None:
    """docs/backtest.md has the table that the record makes."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, read_record(KEPT, Judged)) == text


def test_an_error_stands_beside_that_of_the_fit_to_all() -> None:
    """16 % left out, 5 % fitted; what no run states is blank."""
    known = {"tpot": Median(percent=5, signed_percent=4)}
    apart = {"tpot": Median(percent=16, signed_percent=-16)}
    mine = LeftOut(name="gpt-oss-120b", runs=60, fitted=known, left_out=apart)
    text = page(f"a\n{BEGIN}\nold\n{END}\nb", Judged(classes={"vllm, hopper": (mine,)}))
    assert "| vllm, hopper | gpt-oss-120b | 60 |  | 16 % (5) |  |  |\n" in text
    assert text.startswith("a\n")
    assert text.endswith("\nb")
    assert "old" not in text
