"""kubectl's complaints, each as one line that says what was wrong."""

import pytest

from tests.launcher.orchestrators.cluster import Cluster
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.orchestrators.kubernetes.kubectl import Kubectl, NoKindError

# As kubectl 1.32 writes them.
NOISE = (
    'E1126 14:02:11.690583    4474 memcache.go:265] "Unhandled Error" err="couldn\'t get current '
    'server API group list: Get \\"https://127.0.0.1:1/api?timeout=20s\\""\n'
)


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        (
            NOISE + "The connection to the server 127.0.0.1:1 was refused - did you specify the "
            "right host or port?\n",
            "the cluster of context c cannot be reached: The connection to the server "
            "127.0.0.1:1 was refused - did you specify the right host or port?",
        ),
        (
            'Warning: would violate PodSecurity "restricted:latest"\n'
            'Error from server (Forbidden): error when creating "STDIN": deployments.apps "x" is '
            "forbidden: exceeded quota: gpus\n",
            'the cluster forbids it: Error from server (Forbidden): error when creating "STDIN": '
            'deployments.apps "x" is forbidden: exceeded quota: gpus',
        ),
        (
            'The Deployment "x" is invalid: \n'
            "* spec.template.spec.containers[0].image: Required value\n* spec.replicas: no\n",
            'kubectl: The Deployment "x" is invalid: * spec.template.spec.containers[0].image: '
            "Required value",
        ),
        (
            "error: You must be logged in to the server (Unauthorized)\n",
            "kubectl: You must be logged in to the server (Unauthorized)",
        ),
        ("", "kubectl: it failed and gave no reason"),
    ],
)
def test_a_complaint_is_one_line(stderr: str, line: str) -> None:
    """The first that says something, without kubectl's noise and warnings."""
    assert Kubectl("c", "n").explained(stderr) == line


def test_a_kind_that_the_cluster_does_not_know_is_told_apart(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster out of reach may have it: then nothing is known, and nothing has ended."""
    for name, value in cluster.variables.items():
        monkeypatch.setenv(name, value)
    cluster.set("no-lws")
    kind = "leaderworkersets.leaderworkerset.x-k8s.io"
    with pytest.raises(NoKindError):
        Kubectl().items(kind, "a=b")
    cluster.set("unreachable")
    with pytest.raises(TpdeployError) as refused:
        Kubectl().items(kind, "a=b")
    assert not isinstance(refused.value, NoKindError)
