"""`tpdeploy validate --inside` as a user meets it; ssh is a program that stays on this machine."""

import os
from pathlib import Path

import pytest

from tests.cli.commands import tpdeploy
from tests.cli.test_validate import LOAD
from tests.harness.plans import small_plan
from tests.harness.standin import StandIn, serving
from tpdeploy import __version__
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.processes import leader_of
from tpdeploy.launcher.state import Deployment
from tpdeploy.records import dump_record

# It tells what it is asked in a file beside it; with `none` there it has no tpdeploy.
SSH = """\
#!/bin/sh
for word; do command=$word; done
echo "$*" >> "$0.told"
case "$*" in
    *" -G "*) echo "hostname 192.0.2.7" ;;
    *)
        [ ! -e "$0.none" ] || exit 127
        exec sh -c "$command"
        ;;
esac
"""
KEY = "a-secret-of-clients"


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands in for ssh."""
    path = tmp_path / "bin" / "ssh"
    path.parent.mkdir()
    path.write_text(SSH)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


def deployed(home: Path, url: str, on: str) -> None:
    """A running deployment of `small_plan` at `url`, as launch leaves it; this process is it."""
    folder = home / "deployments" / "default"
    folder.mkdir(parents=True)
    running = Deployment(
        name="default",
        model=small_plan(LOAD).model.id,
        backend="vllm",
        url=url,
        phase="ready",
        supervisor=leader_of(os.getpid()),
        members=(Member(label="replica-0", port=1, phase="ready"),),
    )
    order = Order(
        name="default", backend="vllm", host="127.0.0.1", port=8000, startup_timeout_s=1, on=on
    )
    for name, record in (("state", running), ("plan", small_plan(LOAD)), ("order", order)):
        (folder / f"{name}.yaml").write_text(dump_record(record))


def validate_inside(home: Path, *args: str) -> tuple[int, str, str]:
    """Exit code, output and errors, with a key in the environment."""
    done = tpdeploy("validate", "--inside", *args, home=home, TPDEPLOY_API_KEY=KEY)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("ssh")
@pytest.mark.slow
def test_it_is_shown_and_kept_as_a_validation_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table, and a report that teaches; the endpoint got the key, and nobody else did."""
    monkeypatch.setattr("tpdeploy.launcher.inside.is_loopback", lambda _host: False)
    with serving(StandIn()) as server:
        deployed(tmp_path, server.url, "ssh:here")
        code, shown, said = validate_inside(tmp_path, "--requests", "6")
    assert code == 0, said
    assert "6 requests in" in shown
    assert server.first.key == f"Bearer {KEY}"
    (kept,) = (tmp_path / "validations").glob("*.json")
    assert ValidationReport.model_validate_json(kept.read_text()).not_learned is None
    told = (tmp_path / "bin" / "ssh.told").read_text()
    assert "tpdeploy client" in told
    assert KEY not in told


@pytest.mark.usefixtures("ssh")
@pytest.mark.slow
def test_what_the_client_finds_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own line and exit code."""
    monkeypatch.setattr("tpdeploy.launcher.inside.is_loopback", lambda _host: False)
    deployed(tmp_path, "http://127.0.0.1:9", "ssh:here")
    code, _, said = validate_inside(tmp_path, "--requests", "1")
    assert code == 1
    assert "Error: nothing answers at http://127.0.0.1:9" in said


@pytest.mark.parametrize(
    ("url", "on", "args", "words"),
    [
        ("http://127.0.0.1:9", "ssh:here", (), "is reached from this machine alone; launch it"),
        ("http://10.0.0.1:9", "local", (), "its members are on this machine: measure from here"),
        ("http://10.0.0.1:9", "ssh:here", ("--url", "http://x:1"), "leave --url out"),
        ("http://10.0.0.1:9", "ssh:here", ("--prompts", "PLAN"), "leave one of them out"),
        ("http://10.0.0.1:9", "ssh:here", ("--client-image", "x"), "is for --on kubernetes, not"),
    ],
)
@pytest.mark.usefixtures("ssh")
@pytest.mark.slow
def test_what_cannot_be_measured_from_there_is_refused(
    tmp_path: Path, url: str, on: str, args: tuple[str, ...], words: str
) -> None:
    """One line, exit code 2."""
    deployed(tmp_path, url, on)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "x"}\n')
    plan = tmp_path / "deployments" / "default" / "plan.yaml"
    more = [str(prompts) if word == "PLAN" else word for word in args]
    code, _, said = validate_inside(tmp_path, str(plan), *more)
    assert code == 2
    assert said.count("\n") == 1
    assert words in said


def test_a_host_without_tpdeploy_is_told_how_to_get_it(tmp_path: Path, ssh: Path) -> None:
    """The same version as here."""
    ssh.with_name("ssh.none").touch()
    deployed(tmp_path, "http://10.0.0.1:9", "ssh:here")
    code, _, said = validate_inside(tmp_path)
    assert code == 2
    assert f"here has no tpdeploy {__version__}, which is to measure there" in said
    assert f"run there: pip install tpdeploy=={__version__}" in said


def test_an_image_is_for_clients_inside(tmp_path: Path) -> None:
    """Without --inside it would change nothing."""
    deployed(tmp_path, "http://10.0.0.1:9", "ssh:here")
    done = tpdeploy("validate", "--client-image", "there/tpdeploy:1", home=tmp_path)
    assert done.returncode == 2
    assert "--client-image there/tpdeploy:1: add --inside" in done.stderr
