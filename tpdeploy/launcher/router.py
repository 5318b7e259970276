"""The router in front of several replicas: vllm-router, which serves any OpenAI server."""

from collections.abc import Sequence
from contextlib import suppress

import httpx

from tpdeploy.backends.base import Command, EnvironmentSpec

ENVIRONMENT = EnvironmentSpec(
    name="router",
    version="0.1.17",
    requirements=(
        "vllm-router==0.1.17"
        " --hash=sha256:85c96bea4d573a49b5a8ae4c72ee3dfe733aba26b6f1ff1256e6142f1f42694d"
        " --hash=sha256:1ec4d5ce14c19431cc84e36238507dff89020ab024d99f042f091f5e9f2c895a",
    ),
    executable="vllm-router",
    download_bytes=35_000_000,
    disk_bytes=100_000_000,
)

# A dead replica is noticed within two checks and requests to it are tried elsewhere meanwhile.
HEALTH_INTERVAL_S = 2
HEALTH_FAILURES = 2
RETRIES = 3
REQUEST_TIMEOUT_S = 3600
HEALTH_PATH = "/readiness"
TIMEOUT_S = 2.0


def command(host: str, port: int, metrics_port: int, workers: Sequence[str]) -> Command:
    """The router on `host`:`port` over the engines at the URLs `workers`.

    Each request goes to the less busy of two replicas, so that equal replicas share evenly.
    """
    return Command(
        (
            *("vllm-router", "--worker-urls", *workers),
            *("--policy", "power_of_two"),
            *("--host", host, "--port", str(port)),
            *("--health-check-interval-secs", str(HEALTH_INTERVAL_S)),
            *("--health-failure-threshold", str(HEALTH_FAILURES)),
            *("--retry-max-retries", str(RETRIES)),
            *("--request-timeout-secs", str(REQUEST_TIMEOUT_S)),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port)),
        )
    )


def forget(url: str, worker: str) -> None:
    """Tell the router at `url` that the engine at `worker` is gone.

    It would notice within two checks; until then it retries completions elsewhere, but answers
    other requests with an error.
    """
    with suppress(httpx.HTTPError):
        httpx.post(
            f"{url}/remove_worker", params={"url": worker}, timeout=TIMEOUT_S, trust_env=False
        )
