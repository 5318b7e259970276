"""The front shows the metrics of every replica, and those of the deployment, to who has the key."""

from pathlib import Path

import httpx
import pytest
import yaml

from tests.launcher.machine import Machine, eventually

pytestmark = pytest.mark.processes


def test_a_scrape_config_names_what_the_front_shows(machine: Machine) -> None:
    """Each of its targets answers with the key that it names, and without one does not."""
    machine.plan(replicas=2)
    deployment = machine.launched("--metrics", "--generate-key")
    eventually((machine.home / "deployments" / "default" / "metrics.prom").exists)
    done = machine.run("metrics", "--scrape-config")
    (job,) = yaml.safe_load(done.stdout)["scrape_configs"]
    secret = Path(job["authorization"]["credentials_file"]).read_text().strip()
    key = {"Authorization": f"Bearer {secret}"}
    texts = {}
    for each in job["static_configs"]:
        url = f"{job['scheme']}://{each['targets'][0]}{each['labels']['__metrics_path__']}"
        assert httpx.get(url, trust_env=False).status_code == 401
        answer = httpx.get(url, headers=key, trust_env=False)
        assert answer.status_code == 200, url
        texts[each["labels"]["instance"]] = answer.text
    assert list(texts) == ["default/replica-0", "default/replica-1", "default/deployment"]
    assert "standin_running" in texts["default/replica-1"]
    assert 'tpdeploy_member_ready{member="front"} 1.0' in texts["default/deployment"]
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for path in ("/metrics/deployment/", "/metrics/../inner-key", "/inner-key", "/plan.yaml"):
        assert httpx.get(deployment.url + path, headers=key, trust_env=False).status_code == 404


def test_without_metrics_there_is_nothing_to_scrape(machine: Machine) -> None:
    """The launch did not ask for them: one line, and the front shows none."""
    machine.plan()
    deployment = machine.launched()
    done = machine.run("metrics", "--scrape-config")
    assert (done.returncode, "launch it with --metrics" in done.stderr) == (2, True)
    url = f"{deployment.url}/metrics/deployment"
    assert httpx.get(url, trust_env=False).status_code == 404
    assert '"standin_running{' in machine.run("metrics", "--dashboard").stdout.replace("sum(", "")
