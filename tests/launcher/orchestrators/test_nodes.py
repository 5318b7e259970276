"""`--gpus kubernetes` is what the nodes of the cluster have."""

import json
from typing import Any

import pytest

from tests.launcher.orchestrators.cluster import Cluster
from tpdeploy.errors import InputError
from tpdeploy.launcher.offers import Offer
from tpdeploy.launcher.orchestrators.kubernetes.nodes import offers_of
from tpdeploy.profiles.devices.catalog import accelerators, find_accelerator
from tpdeploy.profiles.devices.labels import labelled, product_labels

H100 = "NVIDIA-H100-80GB-HBM3"


def node(name: str, product: str, count: int, *, up: bool = True, **spec: bool) -> dict[str, Any]:
    vendor = "amd.com" if product.startswith("AMD") else "nvidia.com"
    label = "amd.com/gpu.product-name" if vendor == "amd.com" else "nvidia.com/gpu.product"
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {label: product} if product else {}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "96", f"{vendor}/gpu": str(count)} if count else {"cpu": "8"},
            "conditions": [{"type": "Ready", "status": "True" if up else "False"}],
        },
    }


def test_the_largest_group_of_nodes_that_are_alike_comes_first() -> None:
    """Nodes that are down, closed or without GPUs are left out."""
    nodes = [
        *(node(f"a{n}", H100, 8) for n in range(2)),
        *(node(f"b{n}", "NVIDIA-L40S", 4) for n in range(3)),
        node("c", H100, 8, up=False),
        node("d", H100, 8, unschedulable=True),
        node("e", "", 0),
    ]
    assert offers_of(nodes) == [
        Offer("H100-SXM-80GB", H100, 8, 2),
        Offer("L40S", "NVIDIA-L40S", 4, 3),
    ]


def test_amd_nodes_have_labels_of_their_own() -> None:
    """And another resource."""
    (offer,) = offers_of([node("a", "AMD_Instinct_MI300X_OAM", 8)])
    assert (offer.device, offer.each) == ("MI300X-192GB", 8)


def test_gpus_that_nobody_knows_are_named() -> None:
    """So that the nearest can be stated; also those without a label."""
    nodes = [node("a", "NVIDIA-X9000", 8), node("b", "", 8)]
    with pytest.raises(InputError, match=r"NVIDIA-X9000, no product label"):
        offers_of(nodes)


@pytest.mark.parametrize("device", accelerators(), ids=lambda device: device.name)
def test_a_label_leads_back_to_its_gpu(device: Any) -> None:
    """Two GPUs that share one could not be told apart."""
    assert [labelled(label).name for label in product_labels(device)] == [device.name] * len(
        product_labels(device)
    )


def test_labels_are_those_of_gpu_feature_discovery() -> None:
    """The driver's names, with dashes."""
    assert product_labels(find_accelerator("A100-80GB")) == ("NVIDIA-A100-SXM4-80GB",)


@pytest.mark.slow
def test_a_plan_for_a_cluster_says_what_was_found(cluster: Cluster) -> None:
    """Among its assumptions; it is for all of the largest group."""
    nodes = [node("a", H100, 8), node("b", H100, 8), node("c", "NVIDIA-L4", 1)]
    cluster.set("objects.json", json.dumps(nodes))
    done = cluster.run("plan", "llama-70b", "--gpus", "kubernetes:staging", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["cluster"]
    assert (found["gpu"], found["count"], found["nodes"]) == ("H100-SXM-80GB", 16, 2)
    assert found["assumptions"][0].startswith(f"Found in kubernetes:staging: nodes with 8 x {H100}")
    assert "1 with 1 x NVIDIA-L4" in found["assumptions"][1]
    assert "--context=staging get nodes" in cluster.commands()


def test_a_cluster_without_gpus_is_refused(cluster: Cluster) -> None:
    """In one line; so is what does not tell."""
    cluster.set("objects.json", json.dumps([node("a", "", 0)]))
    done = cluster.run("plan", "llama-70b", "--gpus", "kubernetes")
    assert done.returncode == 2
    assert "--gpus kubernetes: no node that is up has GPUs" in done.stderr
    done = cluster.run("plan", "llama-70b", "--gpus", "ssh:a,b")
    assert done.returncode == 2
    assert "ssh does not tell what it has; name it" in done.stderr
