"""The web page: its server, and that it answers what the command answers."""

import json
import re
import shlex
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

import tpdeploy
from tests.cli.commands import answered, refused
from tpdeploy.cli.ui import server as ui
from tpdeploy.numbers import number
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

FORM = {"model": "llama-8b", "gpus": "2xH100", "backend": "vllm", "concurrency": "16"}


@pytest.fixture(scope="module")
def page() -> Iterator[httpx.Client]:
    """A client of a page that is served."""
    with ui.server("127.0.0.1", 0) as serving:
        thread = Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{serving.server_port}"
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
        serving.shutdown()
        thread.join()


def test_the_page_needs_nothing_from_elsewhere(page: httpx.Client) -> None:
    """Each part is there and names no other host; browsers are told to ask none."""
    whole = page.get("/")
    assert whole.headers["content-security-policy"].startswith("default-src 'self'")
    parts = re.findall(r'(?:src|href)="(page[.]\w+)"', whole.text)
    assert sorted(parts) == ["page.css", "page.js"]
    for text in [whole.text, *(page.get(f"/{part}").raise_for_status().text for part in parts)]:
        assert "//" not in re.sub(r"^//.*$|\s// .*$", "", text, flags=re.MULTILINE)


def test_an_answer_is_that_of_the_api(page: httpx.Client) -> None:
    """The same words and figures."""
    found = page.get("/answer", params=FORM).json()
    plan = tpdeploy.plan("llama-8b", gpus="2xH100", backend="vllm", concurrency=16)
    assert found["answer"] == plan.answer
    assert found["figures"][2]["value"] == number(plan.prediction.output_tokens_per_s.value)
    chosen, *others = found["splits"]
    assert chosen["chosen"]
    assert others
    assert max(split["share"] for split in found["splits"]) == 1.0
    assert not any(split["chosen"] for split in others)


def test_its_command_answers_the_same(
    page: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets and all."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    form = {**FORM, "ttft_ms": "400", "tpot_ms": "30", "quantization": "fp8", "optimize": "latency"}
    found = page.get("/answer", params=form).json()
    told = json.loads(answered(*shlex.split(found["command"])[1:], "--json"))
    assert told["answer"] == found["answer"]
    assert (
        number(told["prediction"]["output_tokens_per_s"]["value"]) == found["figures"][2]["value"]
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gpus": "2xH1000"}, "unknown GPU H1000"),
        ({"model": ""}, "model"),
        ({"concurrency": "many"}, "concurrency 'many': give a number"),
        ({"concurrency": "0"}, "concurrency"),
        ({"gpus": "1xL4", "model": "llama-70b"}, "does not"),
        ({"path": "/etc"}, "'path' is no field"),
        ({"model": "x" * 300}, "over 200 characters"),
    ],
)
def test_what_cannot_be_is_one_line(page: httpx.Client, changed: dict[str, str], said: str) -> None:
    """With what would work, as the command says it."""
    found = page.get("/answer", params={**FORM, **changed}).json()
    assert said in found["error"]
    assert "\n" not in found["error"]


def test_names_that_are_offered_are_known(page: httpx.Client) -> None:
    """Models by their first name, GPUs with a count."""
    names = page.get("/names").json()
    assert "llama-70b" in names["models"]
    assert {"8xH100-SXM-80GB", "1xL4"} <= set(names["gpus"])
    assert parse_gpus(names["gpus"][-1]).count == 8


def test_other_names_and_pages_are_refused(page: httpx.Client) -> None:
    """A page elsewhere whose name leads here reads nothing."""
    assert page.get("/", headers={"Host": "rebound.example:80"}).status_code == 403
    assert page.get("/", headers={"Host": "localhost:1"}).status_code == 200
    assert page.get("/etc/passwd").status_code == 404
    assert page.get("/page.css/../server.py").status_code == 404
    assert page.post("/answer").status_code == 501


def test_a_browser_that_goes_away_leaves_no_word(
    page: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """A slider that moves on drops its question; the next one is answered."""
    port = page.base_url.port
    assert port
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(b"GET /names HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    assert page.get("/names").is_success
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_one_line() -> None:
    """And what helps."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("ui", "--no-browser", "--port", str(port))
    assert said == f"Error: --port {port} on 127.0.0.1: Address already in use; name another"
