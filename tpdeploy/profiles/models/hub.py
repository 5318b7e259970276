"""The Hugging Face hub: the JSON files of a model that is not bundled."""

import os
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

from tpdeploy.errors import InputError
from tpdeploy.files import decoded, kind_of
from tpdeploy.profiles.models.hub_cache import hub_home, snapshot
from tpdeploy.records import parse_json, read_json
from tpdeploy.trust import trusted

if TYPE_CHECKING:
    import httpx

HUB = "https://huggingface.co"
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 10.0
ELSEWHERE = "set HF_ENDPOINT to a mirror in reach, or plan with a local folder"
SAFE, UNSAFE = ".safetensors", (".bin", ".pt", ".pth", ".gguf", ".onnx", ".msgpack", ".h5")
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
    if variable := is_off():
        return f"{variable} forbids to ask the hub", "unset it, or plan with a local folder"
    try:
        answer = _ask(f"{model}/resolve/main/config.json")
    except _OutOfReachError as error:
        return str(error), ELSEWHERE
    return None if answer.is_success else _refusal(answer, model)


def checkpoint_sizes(model: str) -> dict[str, int]:
    """Bytes of each file of the hub model `model` that an engine downloads; empty if nobody tells.

    Mirrors may have the files alone. Of weights in two formats engines take safetensors, and
    never what is in `original/`.
    """
    try:
        answer = _ask(f"api/models/{model}?blobs=true")
        content = parse_json(decoded(answer.content, model), model) if answer.is_success else None
    except (_OutOfReachError, InputError):
        return {}
    files = content.get("siblings") if isinstance(content, dict) else None
    sizes = dict(_sizes(files if isinstance(files, list) else []))
    safe = any(name.endswith(SAFE) for name in sizes)
    return {name: size for name, size in sizes.items() if not (safe and name.endswith(UNSAFE))}


def _sizes(files: list[object]) -> Iterator[tuple[str, int]]:
    for file in files:
        if not isinstance(file, dict):
            continue
        name, size = file.get("rfilename"), file.get("size")
        if isinstance(name, str) and isinstance(size, int) and not name.startswith("original/"):
            yield name, size


def stated_token() -> str:
    """The token that a variable holds; empty if there is none."""
    return (os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or "").strip()


def token() -> str:
    """The user's token: HF_TOKEN, else the one that a login has left; empty if there is none."""
    if stated := stated_token():
        return stated
    try:
        kept = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token")
        return kept.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def endpoint() -> str:
    """The hub, or the mirror of it that HF_ENDPOINT names."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def is_off() -> str:
    """The variable by which the user forbids to ask the hub; empty if there is none."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    stated = next((name for name in names if os.environ.get(name)), "")
    return stated if os.environ.get(stated, "").lower() in YES else ""


def _fetch(model: str, file: str) -> dict[str, object] | None:
    """A JSON file of `model`, or None when the hub knows the model but not the file.

    What was downloaded before serves where the hub does not.
    """
    try:
        answer = _ask(f"{model}/resolve/main/{file}")
    except _OutOfReachError as error:
        if folder := snapshot(model):
            kept = read_json(folder / file) if kind_of(folder / file) else None
            return kept if isinstance(kept, dict) else None
        raise InputError(f"{model} is not bundled and {error}: {INSTEAD}") from error
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    if not answer.is_success:
        problem, remedy = _refusal(answer, model)
        raise InputError(f"{model}: {problem}; {remedy}, or {INSTEAD}")
    return _object(answer, model, file)


def _ask(path: str) -> "httpx.Response":
    """The hub's answer about `path`, with the user's token if there is one.

    Raises:
        _OutOfReachError: there is none, or it may not be asked.
    """
    if variable := is_off():
        raise _OutOfReachError(f"{variable} is set")
    import httpx  # noqa: PLC0415 - 80 ms that only this path needs

    headers = {"Authorization": f"Bearer {sent}"} if (sent := token()) else {}
    try:
        return _get(f"{endpoint()}/{path}", headers)
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
            with httpx.Client(
                timeout=READ_TIMEOUT_S, follow_redirects=True, verify=trusted()
            ) as client:
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


def _refusal(answer: "httpx.Response", model: str) -> tuple[str, str]:
    """Why the hub did not answer about `model`, and what helps."""
    status, kind = answer.status_code, answer.headers.get("X-Error-Code", "")
    # Of a model that it does not have, the hub says so to who sends a token.
    if status == HTTPStatus.NOT_FOUND or (kind == "RepoNotFound" and token()):
        return f"{endpoint()} has no such model, or it is private", ELSEWHERE
    if status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"{endpoint()} answered {status}", ELSEWHERE
    sent = "the token may not read it" if token() else "no token was sent"
    what = "it is gated, and " if kind == "GatedRepo" else ""
    # Terms are accepted at the hub itself, whatever mirror has the files.
    terms = f"accept its terms at {HUB}/{model} and set HF_TOKEN to a token of yours"
    return f"{endpoint()} answered {status}: {what}{sent}", terms


def _object(answer: "httpx.Response", model: str, file: str) -> dict[str, object]:
    name = f"{model}: {endpoint()}'s {file}"
    try:
        content = parse_json(decoded(answer.content, name), name)
    except InputError as error:
        raise InputError(f"{error}; {INSTEAD}") from error
    if not isinstance(content, dict):
        raise InputError(f"{name} is not an object; {INSTEAD}")
    return content
