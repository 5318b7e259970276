"""The Hugging Face hub: the JSON files of a model that is not bundled."""

import os
import threading
from http import HTTPStatus
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

from tpdeploy.errors import InputError
from tpdeploy.files import decoded
from tpdeploy.records import parse_json

if TYPE_CHECKING:
    import httpx

HUB = "https://huggingface.co"
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0
INSTEAD = "give a local folder with its config.json, or a bundled model"
YES = {"1", "on", "yes", "true"}


class _OutOfReachError(Exception):
    """The hub does not answer; the message says which."""


def hub_config(model: str) -> dict[str, object]:
    """The config.json of the hub model `model`, with ModelOpt's quantization if it has one.

    HF_ENDPOINT, HF_TOKEN, a login and HF_HUB_OFFLINE are honoured as by the hub's own client.

    Raises:
        InputError: the hub is off or out of reach, refuses, or has no such model.
    """
    config = _fetch(model, "config.json")
    if config is None:
        raise InputError(f"{model}: {endpoint()} has no such model with a config.json; {INSTEAD}")
    return config


def hub_quantization(model: str) -> dict[str, object] | None:
    """The hf_quant_config.json of the hub model `model`; None when it has none."""
    return _fetch(model, "hf_quant_config.json")


def download_problem(model: str) -> tuple[str, str] | None:
    """Why an engine cannot download the hub model `model` now, with a remedy; None if it can.

    One file is asked for, which the hub guards as it guards the weights.
    """
    elsewhere = "set HF_ENDPOINT to a mirror in reach, or plan with a local folder"
    if _is_off():
        return "HF_HUB_OFFLINE forbids to ask the hub", "unset it, or plan with a local folder"
    try:
        answer = _ask(model, "config.json")
    except _OutOfReachError as error:
        return str(error), elsewhere
    if answer.is_success:
        return None
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        sent = "the token may not read it" if token() else "no token was sent (HF_TOKEN)"
        terms = f"accept its terms at {endpoint()}/{model} and set HF_TOKEN to a token of yours"
        return f"{endpoint()} answered {answer.status_code}: {sent}", terms
    return _refusal(answer), elsewhere


def hub_home() -> Path:
    """The folder of the hub's own client, with its cache and the token of a login.

    HF_HOME and XDG_CACHE_HOME move it, as huggingface_hub's constants.py says.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{caches}/huggingface").expanduser()


def token() -> str:
    """The user's token: HF_TOKEN, else the one that a login has left; empty if there is none."""
    if stated := os.environ.get("HF_TOKEN"):
        return stated.strip()
    try:
        kept = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token")
        return kept.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def endpoint() -> str:
    """The hub, or the mirror of it that HF_ENDPOINT names."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def _is_off() -> bool:
    """Whether the user forbids to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in YES


def _fetch(model: str, file: str) -> dict[str, object] | None:
    """A JSON file of `model`, or None when the hub knows the model but not the file."""
    if _is_off():
        raise InputError(f"{model} is not bundled and HF_HUB_OFFLINE is set: {INSTEAD}")
    try:
        answer = _ask(model, file)
    except _OutOfReachError as error:
        raise InputError(f"{model} is not bundled and {error}: {INSTEAD}") from error
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    if not answer.is_success:
        raise InputError(f"{model}: {_refusal(answer)}; {INSTEAD}")
    return _object(answer, model, file)


def _ask(model: str, file: str) -> "httpx.Response":
    """The hub's answer about a file of `model`, with the user's token if there is one.

    Raises:
        _OutOfReachError: there is none.
    """
    import httpx  # noqa: PLC0415 - 80 ms that only this path needs

    headers = {"Authorization": f"Bearer {sent}"} if (sent := token()) else {}
    try:
        return _get(f"{endpoint()}/{model}/resolve/main/{file}", headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        reason = f"{endpoint()} is out of reach ({type(error).__name__})"
        raise _OutOfReachError(reason) from error


def _get(url: str, headers: dict[str, str]) -> "httpx.Response":
    """GET in a thread of its own, given up when no connection stands in time.

    The connect timeout of the client is not enough: looking up the name has no limit, and every
    address of a host gets the full time again.
    """
    import httpx  # noqa: PLC0415 - as above

    settled = threading.Event()
    answers: Queue[httpx.Response | Exception] = Queue()

    def note(event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            settled.set()

    def run() -> None:
        try:
            with httpx.Client(timeout=READ_TIMEOUT_S, follow_redirects=True) as client:
                answers.put(client.get(url, headers=headers, extensions={"trace": note}))
        except Exception as error:  # raised again by the caller
            answers.put(error)
        settled.set()

    threading.Thread(target=run, daemon=True).start()
    if not settled.wait(CONNECT_TIMEOUT_S):
        raise httpx.ConnectTimeout(f"no connection in {CONNECT_TIMEOUT_S:g} s")
    answer = answers.get()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _refusal(answer: "httpx.Response") -> str:
    match answer.status_code:
        case 401:
            return f"{endpoint()} does not know it, or wants a token for it (set HF_TOKEN)"
        case 403:
            return f"{endpoint()} denies access: accept the model's terms there, or set HF_TOKEN"
        case 404:
            return f"{endpoint()} has no such model"
        case status:
            return f"{endpoint()} answered {status}"


def _object(answer: "httpx.Response", model: str, file: str) -> dict[str, object]:
    name = f"{model}: {endpoint()}'s {file}"
    try:
        content = parse_json(decoded(answer.content, name), name)
    except InputError as error:
        raise InputError(f"{error}; {INSTEAD}") from error
    if not isinstance(content, dict):
        raise InputError(f"{name} is not an object; {INSTEAD}")
    return content
