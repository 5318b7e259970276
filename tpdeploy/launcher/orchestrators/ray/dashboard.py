"""A cluster's dashboard: Serve's REST interface, which `serve deploy` uses too, and logs."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from tpdeploy.errors import InputError, TpdeployError, shown
from tpdeploy.files import home_of, kind_of, read_text
from tpdeploy.launcher.orchestrators.ray.details import Details
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.trust import trusted

ADDRESS = "RAY_DASHBOARD_ADDRESS"  # the variable that `serve` reads
# A cluster's token, as Ray itself finds it: in the one, or in the file that the other names.
TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - a path
PORT = 8265
APPLICATIONS = "/api/serve/applications/"
LOGS = "/api/v0/logs"
# Starting Serve takes a new cluster seconds, a busy one more.
TIMEOUT = httpx.Timeout(120.0, connect=5.0)
WITHOUT_END = httpx.Timeout(5.0, read=None)  # nothing is written for hours
OUTPUTS = ("out", "err")  # vLLM writes to the one, Serve and what fails to the other
FOLLOW_EVERY_S = 0.5


def address_of(on: str) -> str:
    """The URL of the dashboard that `--on` names: `ray`, `ray:HOST`, `ray:HOST:PORT`, `ray:URL`.

    >>> address_of("ray:head")
    'http://head:8265'

    Raises:
        InputError: it is none.
    """
    told = on.partition(":")[2] or os.environ.get(ADDRESS, f"{LOOPBACK}:{PORT}")
    url = told if "://" in told else f"http://{told}"
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else PORT)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise InputError(
            f"--on ray:{shown(told)}: give the dashboard of a Ray cluster, as ray:HOST:{PORT}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _headers() -> dict[str, str]:
    """What lets us in where the cluster asks for its token."""
    token = os.environ.get(TOKEN, "").strip()
    path = home_of(os.environ.get(TOKEN_PATH, TOKEN_FILE))
    if not token and kind_of(path) == "file":
        token = read_text(path).strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


class Dashboard:
    """What the dashboard at `url` is asked and told.

    Every method raises TpdeployError if it does not answer, or answers what cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def host(self) -> str:
        """The machine it is on, that is the head of the cluster."""
        return urlsplit(self.url).hostname or LOOPBACK

    def details(self) -> Details:
        """All that runs on the cluster's Serve, which need not run itself."""
        answer = self._ask("GET", APPLICATIONS)
        try:
            return Details.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise TpdeployError(f"Ray's dashboard {self.url}: {where}: {first['msg']}") from error

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Have Serve run the applications of `config`, and no other declared ones."""
        self._ask("PUT", APPLICATIONS, json=config)

    def shut_down(self) -> None:
        """End Serve itself, which is on the cluster only as long as somebody uses it."""
        self._ask("DELETE", APPLICATIONS)

    def written(self, actor: str, output: str, lines: int) -> list[str]:
        """The last lines that an actor wrote to one of its OUTPUTS."""
        asked = {"actor_id": actor, "suffix": output, "lines": lines}
        return self._ask("GET", f"{LOGS}/file", params=asked).text.splitlines()

    def writes(self, actor: str, output: str, lines: int) -> Iterator[str]:
        """The same, and on, for as long as it writes."""
        asked: dict[str, str | float] = {"actor_id": actor, "suffix": output, "lines": lines}
        asked["interval"] = FOLLOW_EVERY_S
        url = self.url + f"{LOGS}/stream"
        with (
            self._reached(),
            httpx.stream(
                "GET",
                url,
                params=asked,
                headers=_headers(),
                timeout=WITHOUT_END,
                trust_env=False,
                verify=trusted(),
            ) as answer,
        ):
            yield from answer.iter_lines()

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        url = self.url + path
        with self._reached():
            answer = httpx.request(
                method,
                url,
                headers=_headers(),
                timeout=TIMEOUT,
                trust_env=False,
                verify=trusted(),
                **content,
            )
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise TpdeployError(
                f"Ray's dashboard {self.url} asks for the cluster's token; put it into {TOKEN}"
            )
        if answer.status_code != httpx.codes.OK:
            words = " ".join(re.sub(r"\x1b\[\d*m", "", answer.text).split())
            raise TpdeployError(f"Ray's dashboard {self.url} says {answer.status_code}: {words}")
        return answer

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise TpdeployError(
                f"no dashboard of Ray at {self.url} ({reason}); `ray start --head` starts one, "
                f"name it as --on ray:HOST:{PORT}"
            ) from error
