"""Where clients reach an application, and whether it answers them."""

import httpx

from tpdeploy.errors import TpdeployError, one_line
from tpdeploy.launcher.orchestrators.ray.config import PREFIX
from tpdeploy.launcher.orchestrators.ray.dashboard import Dashboard
from tpdeploy.launcher.orchestrators.ray.details import Details
from tpdeploy.launcher.orchestrators.ray.reference import Reference
from tpdeploy.launcher.runtimes.member import Phase
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.trust import trusted

# One token takes a busy engine seconds; where no replica is left, Serve never answers.
ANSWER_TIMEOUT_S = 20.0
LOOPBACKS = frozenset({LOOPBACK, "localhost", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never listened on


def url_of(known: Reference, details: Details) -> str:
    """Its URL; the head of the cluster is where the dashboard is.

    Raises:
        TpdeployError: Serve has been shut down, or listens for others alone.
    """
    options = details.http_options
    if options is None:
        raise TpdeployError(f"Serve does not run on {known.dashboard} any more")
    head = Dashboard(known.dashboard).host
    if options.host in LOOPBACKS and head not in LOOPBACKS:
        raise TpdeployError(
            f"Serve listens on {options.host} of {head} alone; run this there, or give --host"
        )
    scheme = "https" if options.ssl_certfile else "http"
    return address_in(known, options.host, options.port, scheme)


def address_in(known: Reference, host: str, port: int, scheme: str = "http") -> str:
    """Its URL where Serve listens on `host` and `port`."""
    head = Dashboard(known.dashboard).host
    here = head if host in LOOPBACKS | EVERYWHERE else host
    name = known.application.removeprefix(PREFIX)
    return f"{scheme}://{f'[{here}]' if ':' in here else here}:{port}/{name}"


def tried(url: str, model: str) -> tuple[Phase, str]:
    """Ready if one token of `model` comes from `url`; else how it is, and why."""
    asked = {"model": model, "prompt": "1", "max_tokens": 1}
    try:
        answer = httpx.post(
            f"{url}/v1/completions",
            json=asked,
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
            verify=trusted(),
        )
    except httpx.HTTPError as error:
        return "down", f"no completion: {one_line(str(error) or type(error).__name__)}"
    if answer.status_code == httpx.codes.OK:
        return "ready", ""
    # Serve's proxy learns of an application shortly after it has started.
    starts = answer.status_code == httpx.codes.NOT_FOUND
    words = one_line(" ".join(answer.text.split()))
    return "starting" if starts else "down", f"no completion: {answer.status_code} {words}"
