"""The planner as a web page: what its reader does, and sees."""

from collections.abc import Iterator
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import PATIENCE_MS, SIZES, Look, Scheme, is_tidy, resize
from tpdeploy.cli.ui import server as ui

FORM = "?model=llama-8b&gpus=2xH100&backend=vllm&concurrency=16"
# A pipeline of long names, a warning, and a target that a split misses.
LONG = "?model=qwen3-32b&gpus=4xL40S&backend=vllm&concurrency=128&ttft_ms=2000"
WRONG = "?model=llama-8b&gpus=2xH1O0"


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of the page."""
    with ui.server("127.0.0.1", 0) as serving:
        thread = Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def answered(page: Page) -> str:
    """The answer, once it is that to the form as it is."""
    expect(page.locator("#answer")).not_to_have_class("old", timeout=PATIENCE_MS)
    return page.locator("h2").inner_text()


def test_the_answer_follows_the_form_and_its_address_restores_it(served: str, look: Look) -> None:
    """Each change is answered; another reader of the address sees the same."""
    page = look.at(served + FORM)
    first = answered(page)
    page.locator("[name=gpus]").fill("1xH100")
    expect(page.locator("h2")).not_to_have_text(first, timeout=PATIENCE_MS)
    page.locator("[name=concurrency]").fill("2")
    expect(page.locator("code")).to_contain_text("--concurrency 4", timeout=PATIENCE_MS)
    changed, command = answered(page), page.locator("code").inner_text()
    link = page.get_by_text("Link to this answer").get_attribute("href")
    assert link == page.url
    again = look.at(link)
    assert answered(again) == changed
    assert again.locator("code").inner_text() == command
    assert again.locator("[name=concurrency]").input_value() == "2"
    assert all(address.startswith((served, "data:")) for address in look.asked)
    assert look.complaints == []


def test_the_command_is_copied(served: str, look: Look) -> None:
    """In one line, however it is broken on the page; where that is refused it is selected."""
    page = look.at(served + FORM)
    answered(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.locator("code").text_content()
    assert copied.startswith("tpdeploy plan llama-8b --gpus 2xH100 --input-tokens 1024 ")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    page.locator("button").click()
    assert page.evaluate("() => getSelection().toString()").split() == copied.split()


def test_an_error_is_told_in_line_until_it_is_mended(served: str, look: Look) -> None:
    """The field that it names is marked; nothing of the last answer is left."""
    page = look.at(served + WRONG)
    expect(page.locator(".error")).to_contain_text("did you mean H100?", timeout=PATIENCE_MS)
    gpus = page.locator("[name=gpus]")
    expect(gpus).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[name=model]")).to_have_attribute("aria-invalid", "false")
    expect(page.locator("h2")).to_be_hidden()
    gpus.fill("2xH100")
    expect(page.locator("h2")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".error")).to_be_hidden()
    expect(gpus).to_have_attribute("aria-invalid", "false")
    assert look.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("form", [LONG, WRONG])
def test_nothing_overlaps_or_is_cut(served: str, form: str, scheme: Scheme, look: Look) -> None:
    """On a phone and on a desk, with the rarer fields shown."""
    page = look.at(served + form, scheme=scheme)
    expect(page.locator("code")).not_to_be_empty(timeout=PATIENCE_MS)
    page.evaluate("() => { document.querySelector('details').open = true; }")
    for size in SIZES:
        resize(page, size)
        is_tidy(page)
