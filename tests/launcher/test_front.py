"""What is open of a deployment, shown with the real front and stand-in engines."""

import http.client
import json
import ssl
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest

from tests.launcher.machine import Machine, eventually
from tpdeploy.files import write_whole
from tpdeploy.launcher.access import inner_key
from tpdeploy.launcher.front import CLIENT_PATHS, Front, config
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.request import Router

KEY = "sk-of-clients"

# Of vLLM 0.32 and of routers: what generates, stops, changes or tells without being asked to.
ADMIN = (
    *("/add_worker?url=http://127.0.0.1:9", "/remove_worker", "/flush_cache", "/list_workers"),
    *("/invocations", "/tokenize", "/detokenize", "/inference/v1/generate", "/pooling"),
    *("/scale_elastic_ep", "/sleep", "/pause", "/collective_rpc", "/reset_prefix_cache"),
    *("/v1/load_lora_adapter", "/update_weights", "/start_profile", "/abort_requests"),
    *("/docs", "/openapi.json", "/server_info", "/load", "/metrics", "/"),
    *("/v1/chat/completions/../../../invocations", "/v1/models/..%2f..%2finvocations"),
    *("/v1/completions%2f..%2f..%2finvocations", "//invocations", "/config/", "/load"),
)


def bearing(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {key}"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


def asked(url: str, method: str = "GET", **headers: str) -> Answer:
    """Exactly as written: other clients put paths in order first."""
    address = httpx.URL(url)
    connection = http.client.HTTPConnection(address.host, address.port or 80, timeout=10)
    connection.request(method, url.split(str(address.port), 1)[1], headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)


@pytest.mark.processes
def test_a_stranger_gets_nothing_and_a_client_what_clients_need(machine: Machine) -> None:
    """The key is asked for on every route; with it, no route but those of clients is known."""
    machine.plan(replicas=2)
    url = machine.launched(TPDEPLOY_API_KEY=KEY).url
    for path in (*CLIENT_PATHS, "/health", *ADMIN):
        for headers in ({}, bearing(""), bearing(KEY[:-1]), bearing(KEY + "x"), bearing("x", "")):
            for method in ("GET", "POST"):
                answer = asked(url + path, method, **headers)
                assert answer.status == 401, (path, headers)
        assert json.loads(answer.text)["error"]["message"].startswith("a key is needed")
    for path in ADMIN:
        assert asked(url + path, "POST", **bearing(KEY)).status == 404, path
    for path in ("/v1/models", "/health"):
        assert asked(url + path, **bearing(KEY)).status == 200
    assert asked(url + "/v1/models", **bearing(KEY, "bearer")).status == 200
    logs = "".join(machine.run("logs", f"replica-{number}").stdout for number in (0, 1))
    assert "POST" not in logs  # nothing of all this has reached an engine


@pytest.mark.processes
def test_engines_take_requests_from_the_front_alone(machine: Machine) -> None:
    """They have a key of their own, and are never shown the client's."""
    machine.plan()
    deployment = machine.launched(TPDEPLOY_API_KEY=KEY)
    replica = f"http://127.0.0.1:{deployment.members[0].port}"
    for path in ("/v1/chat/completions", "/invocations"):
        assert asked(replica + path, "POST").status == 401
        assert asked(replica + path, "POST", **bearing(KEY)).status == 401
    before = machine.run("logs").stdout
    header = {**bearing(KEY), "X-Api-Key": KEY, "Cookie": KEY}
    answer = asked(deployment.url + "/v1/chat/completions", "POST", **header)
    assert answer.status == 200
    new = machine.run("logs").stdout.removeprefix(before)
    assert KEY not in new
    assert inner_key(machine.home / "deployments" / "default") in new
    assert {"server", "via"}.isdisjoint(answer.headers)


@pytest.mark.processes
def test_without_a_key_the_front_still_knows_no_admin_routes(machine: Machine) -> None:
    """On this machine alone, no key is needed for what clients need."""
    machine.plan()
    deployment = machine.launched()
    assert asked(deployment.url + "/v1/models").status == 200
    assert {asked(deployment.url + path, "POST").status for path in ADMIN} == {404}


@pytest.mark.processes
def test_streams_are_passed_on_as_they_come_and_end_with_their_client(machine: Machine) -> None:
    """The first event before the second is written; an engine learns that nobody reads on."""
    machine.plan()
    deployment = machine.launched()
    began = time.monotonic()
    with httpx.stream("POST", deployment.url + "/v1/completions", trust_env=False) as stream:
        assert next(stream.iter_lines()) == "data: {}"
        assert time.monotonic() - began < 4.5
    eventually(lambda: "the client has gone" in machine.run("logs").stdout)


@pytest.mark.processes
def test_a_replica_that_hangs_gets_no_more_requests(machine: Machine) -> None:
    """Its health check tells; the others serve on, and later it is asked again."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    process = stopped(deployment)
    try:
        time.sleep(20)  # two checks of 5 s, 2 s apart
        for _ in range(8):
            assert asked(deployment.url + "/v1/models").status == 200
    finally:
        process.resume()


def stopped(deployment: Deployment) -> psutil.Process:
    leader = deployment.members[0].leader
    assert leader is not None
    process = psutil.Process(leader.pid)
    process.suspend()
    return process


def known(front: Front, folder: Path) -> list[str]:
    """Every path that is passed on."""
    (server,) = config(front, folder)["apps"]["http"]["servers"].values()
    matches = [match for route in server["routes"] for match in route.get("match", ())]
    return [path for match in matches for path in match.get("path", ())]


@pytest.mark.processes
def test_the_front_is_well_though_a_replica_hangs(machine: Machine) -> None:
    """It answers for itself: whom it asks next is no sign of its health."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    process = stopped(deployment)
    try:
        assert [asked(deployment.url + "/live").status for _ in range(8)] == [200] * 8
    finally:
        process.resume()


def test_metrics_are_shown_where_the_user_asks_for_it(tmp_path: Path) -> None:
    """Those of each replica by its number; of a single one by the usual name too."""
    one = Front("127.0.0.1", 8000, ("127.0.0.1:9",), "/health", keyed=True)
    assert "metrics" not in "".join(known(one, tmp_path))
    one = replace(one, metrics_path="/prometheus/metrics")
    assert known(one, tmp_path)[-2:] == ["/metrics/0", "/metrics"]
    two = replace(one, replicas=("127.0.0.1:9", "127.0.0.1:10"))
    assert known(two, tmp_path)[-2:] == ["/metrics/0", "/metrics/1"]


@pytest.mark.parametrize(
    ("router", "policy"),
    [
        ("least-in-flight", "least_conn"),
        ("round-robin", "round_robin"),
        ("power-of-two", "random_choose"),
        ("cache-aware", "least_conn"),  # its plan says that a router of its own is needed
    ],
)
def test_requests_are_shared_out_as_planned(router: Router, policy: str, tmp_path: Path) -> None:
    two = ("127.0.0.1:9", "127.0.0.1:10")
    front = Front("127.0.0.1", 8000, two, "/health", keyed=True, router=router)
    assert f'"policy": "{policy}"' in json.dumps(config(front, tmp_path))


def test_the_configuration_holds_no_key_and_opens_no_other_port(tmp_path: Path) -> None:
    """Keys are named, not written; Caddy's admin endpoint is off."""
    front = Front("10.0.0.5", 8000, ("127.0.0.1:9",), "/health", keyed=True)
    made = config(front, tmp_path)
    assert made["admin"] == {"disabled": True}
    (server,) = made["apps"]["http"]["servers"].values()
    assert server["listen"] == ["10.0.0.5:8000"]
    assert "{env.TPDEPLOY_INNER_KEY}" in json.dumps(made)


@pytest.mark.processes
def test_keys_of_a_file_are_changed_without_a_restart(machine: Machine, tmp_path: Path) -> None:
    """Each line is one; the next request is asked for what the file holds by then."""
    keys = tmp_path / "keys"
    write_whole(keys, "first\nsecond\n")
    machine.plan()
    url = machine.launched("--api-key-file", str(keys), TPDEPLOY_API_KEY=KEY).url + "/v1/models"
    given = {key: asked(url, **bearing(key)).status for key in ("first", "second", KEY, "third")}
    assert given == {"first": 200, "second": 200, KEY: 200, "third": 401}
    write_whole(keys, "third")
    given = {key: asked(url, **bearing(key)).status for key in ("first", "second", KEY, "third")}
    assert given == {"first": 401, "second": 401, KEY: 200, "third": 200}
    keys.unlink()
    assert {asked(url, **bearing(key)).status for key in ("first", "third", "")} <= {401, 500}


@pytest.mark.processes
def test_a_generated_key_is_shown_once_and_kept_for_its_user(machine: Machine) -> None:
    """Its file is private, our own commands find it, and a dry run makes none."""
    machine.plan()
    assert machine.run("launch", "--generate-key", "--dry-run").returncode == 0
    kept = machine.home / "deployments" / "default" / "api-key"
    assert not kept.exists()
    done = machine.launch("--generate-key", "--json")
    key = kept.read_text().strip()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert done.stderr.count(key) == 1
    assert key not in done.stdout
    assert key not in machine.run("status", "--json").stdout
    url = Deployment.model_validate_json(done.stdout).url + "/v1/models"
    assert asked(url).status == 401
    assert asked(url, **bearing(key)).status == 200
    assert machine.run("query", "Hello").stdout == "Hello!\n"


@pytest.mark.processes
def test_what_clients_send_is_encrypted_with_the_users_certificate(
    machine: Machine, tmp_path: Path
) -> None:
    """By nothing but TLS; our own commands trust that certificate alone."""
    certificate, key = pair(tmp_path)
    machine.plan()
    tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    url = machine.launched(*tls).url
    assert url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.check_hostname = False
    assert httpx.get(url + "/v1/models", verify=trust, trust_env=False).status_code == 200
    assert asked(url.replace("https", "http") + "/v1/models").status == 400
    assert machine.status().members[-1].healthy
    assert machine.run("query", "Hello").stdout == "Hello!\n"


def pair(folder: Path) -> tuple[Path, Path]:
    """A certificate, and its key as a user keeps it."""
    made = folder / "certificate.pem", folder / "key.pem"
    for path in made:
        write_whole(path, (Path(__file__).parent / "tls" / path.name).read_text())
    return made
