"""What is handed to Kubernetes: objects that a cluster takes, and an administrator approves."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.launcher.orchestrators.cluster import Cluster
from tests.launcher.orchestrators.schemas import RefusedError, check, containers, pod_specs
from tests.launcher.plans import plan_for
from tpdeploy.planner.plan import DeploymentPlan

Json = dict[str, Any]

CONFIG = {
    **{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256},
    **{"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80},
    **{"num_attention_heads": 64, "num_key_value_heads": 8, "torch_dtype": "bfloat16"},
    **{"max_position_embeddings": 131072, "tie_word_embeddings": False},
}
KEY = {"TPDEPLOY_API_KEY": "sk-secret"}


def manifest(cluster: Cluster, *args: str, **env: str) -> list[Json]:
    done = cluster.launch("--dry-run", *args, **env)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def only(objects: list[Json], kind: str, ending: str = "") -> Json:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(ending)]
    return found


@pytest.fixture
def wide(cluster: Cluster, two_machines: DeploymentPlan) -> Cluster:
    cluster.plan(two_machines)
    return cluster


def options(container: Json) -> dict[str, str]:
    """What an engine is told, by option; one without a value has none."""
    words = [*container["args"], "--"]
    pairs = pairwise(words)
    return {a: "" if b.startswith("--") else b for a, b in pairs if a.startswith("--")}


@pytest.mark.parametrize("args", [(), ("--insecure",), ("--volume", "pvc:models/hub")])
@pytest.mark.slow
def test_a_cluster_takes_every_object(cluster: Cluster, args: tuple[str, ...]) -> None:
    """Of a plan with a machine for each replica, by Kubernetes' own schemas."""
    objects = manifest(cluster, *args, **KEY)
    for each in objects:
        check(each)
    assert Counter(o["kind"] for o in objects) == {
        **dict.fromkeys(("ConfigMap", "Service", "PodDisruptionBudget", "Deployment"), 2),
        "NetworkPolicy": 1,
    }


def test_a_cluster_takes_groups(wide: Cluster) -> None:
    """Of a plan with several machines for each replica."""
    objects = manifest(wide, "--volume", "/data/models", **KEY)
    for each in objects:
        check(each)
    spec = only(objects, "LeaderWorkerSet")["spec"]
    assert spec["replicas"] == 1
    assert spec["leaderWorkerTemplate"]["size"] == 2
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"


def test_the_check_refuses_what_a_cluster_refuses(wide: Cluster) -> None:
    """Else it would show nothing: an unknown field, a wrong word and a port out of range."""
    group = only(manifest(wide), "LeaderWorkerSet")
    leader = group["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]
    spec = group["spec"]

    def in_order() -> Iterator[None]:
        yield spec.update(replcas=1)
        del spec["replcas"]
        yield spec.update(startupPolicy="Soon")
        del spec["startupPolicy"]
        yield leader.update(imagee="x")
        del leader["imagee"]
        yield leader["ports"][0].update(containerPort=80000)

    for _ in in_order():
        with pytest.raises(RefusedError):
            check(group)


def test_replicas_run_what_was_planned(cluster: Cluster) -> None:
    """Two of them, each with the eight GPUs of a node that has the plan's."""
    deployment = only(manifest(cluster), "Deployment", "replica")
    assert deployment["spec"]["replicas"] == 2
    (pod,) = pod_specs(deployment)
    (engine,) = pod["containers"]
    assert engine["command"] == ["vllm"]
    assert options(engine)["--tensor-parallel-size"] == "8"
    assert engine["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert not any(each["name"] == "CUDA_VISIBLE_DEVICES" for each in engine["env"])


def test_any_node_is_taken_for_gpus_of_several_kinds(cluster: Cluster) -> None:
    """A node's label names one kind."""
    cluster.plan(plan_for("1x3090+1x3070", model="qwen2.5-0.5b"))
    (pod,) = pod_specs(only(manifest(cluster), "Deployment", "replica"))
    assert "nodeSelector" not in pod
    assert "affinity" not in pod


def test_ranks_of_a_group_find_their_leader(wide: Cluster) -> None:
    """By words that the kubelet replaces; one serves, the others have neither server nor probes."""
    group = only(manifest(wide), "LeaderWorkerSet")
    leader, worker = containers(group)
    for part, rank in ((leader, "0"), (worker, "$(LWS_WORKER_INDEX)")):
        told = options(part)
        assert told["--master-addr"] == "$(LWS_LEADER_ADDRESS)"
        assert (told["--nnodes"], told["--node-rank"]) == ("2", rank)
        assert told["--pipeline-parallel-size"] == "2"
        env = {each["name"]: each for each in part["env"]}
        assert env["VLLM_HOST_IP"]["value"] == "$(POD_IP)"
        assert env["POD_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
        mounts = {mount["mountPath"]: mount["name"] for mount in part["volumeMounts"]}
        assert mounts["/dev/shm"] == "shm"
    assert "--headless" in worker["args"]
    assert "--headless" not in leader["args"]
    probes = {"startupProbe", "readinessProbe", "livenessProbe"}
    assert probes <= leader.keys()
    assert not probes & worker.keys()
    assert "VLLM_API_KEY" not in [each["name"] for each in worker["env"]]
    for pod in pod_specs(group):
        shared = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
        assert shared["emptyDir"]["medium"] == "Memory"


def test_only_leaders_are_served_to_clients(wide: Cluster) -> None:
    """Workers have no server; the front alone reaches leaders, and ranks one another."""
    objects = manifest(wide)
    service = only(objects, "Service", "replicas")["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
    front, ranks = only(objects, "NetworkPolicy")["spec"]["ingress"]
    labels = front["from"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "front"
    assert front["ports"] == [{"protocol": "TCP", "port": 8000}]
    labels = ranks["from"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "replica"
    assert "ports" not in ranks


def test_trays_of_a_rack_get_a_channel(cluster: Cluster, two_trays: DeploymentPlan) -> None:
    """Every pod claims one of the ComputeDomain, in the NVLink domain of its group's others."""
    cluster.plan(two_trays)
    objects = manifest(cluster, **KEY)
    for each in objects:
        check(each)
    channel = only(objects, "ComputeDomain")["spec"]["channel"]["resourceClaimTemplate"]["name"]
    group = only(objects, "LeaderWorkerSet")
    for pod in pod_specs(group):
        (claim,) = pod["resourceClaims"]
        assert claim["resourceClaimTemplateName"] == channel
        (engine,) = pod["containers"]
        assert engine["resources"]["claims"] == [{"name": claim["name"]}]
        assert engine["resources"]["limits"] == {"nvidia.com/gpu": "4"}
        told = options(engine)
        assert (told["--tensor-parallel-size"], told["--nnodes"]) == ("8", "2")
        (near,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert near["topologyKey"] == "nvidia.com/gpu.clique"
        assert near["matchLabelKeys"] == ["leaderworkerset.sigs.k8s.io/group-index"]
        labels = group["spec"]["leaderWorkerTemplate"]["workerTemplate"]["metadata"]["labels"]
        assert near["labelSelector"]["matchLabels"].items() <= labels.items()


def test_machines_on_a_network_need_no_channel(wide: Cluster) -> None:
    """Nor do trays that a plan joins by a network."""
    objects = manifest(wide)
    assert not [o for o in objects if o["kind"] == "ComputeDomain"]
    assert not any("resourceClaims" in pod for o in objects for pod in pod_specs(o))


def test_keys_are_in_the_secret_alone(cluster: Cluster) -> None:
    """The manifest names it; engines have a key of their own, clients' are a file of the front."""
    done = cluster.launch("--dry-run", **KEY, HF_TOKEN=KEY["TPDEPLOY_API_KEY"])
    assert KEY["TPDEPLOY_API_KEY"] not in done.stdout
    objects = list(yaml.safe_load_all(done.stdout))
    (engine,) = containers(only(objects, "Deployment", "replica"))
    env = {each["name"]: each.get("valueFrom") for each in engine["env"]}
    assert env["VLLM_API_KEY"] == {
        "secretKeyRef": {"name": "tpdeploy-default-keys", "key": "inner"}
    }
    assert env["HF_TOKEN"]["secretKeyRef"]["optional"] is True


def test_pods_have_no_rights_that_they_do_not_need(wide: Cluster) -> None:
    """No token of the cluster, no privileges; the front is nobody and writes to no image."""
    objects = manifest(wide, **KEY)
    for each in objects:
        for pod in pod_specs(each):
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(each):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"]["drop"] == ["ALL"]
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")
    (front,) = pod_specs(only(objects, "Deployment", "front"))
    assert front["securityContext"]["runAsNonRoot"] is True
    assert front["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("volume", "source", "path"),
    [
        ("pvc:models", {"persistentVolumeClaim": {"claimName": "models"}}, None),
        ("pvc:models/a/b", {"persistentVolumeClaim": {"claimName": "models"}}, "a/b"),
        ("/data/hub", {"hostPath": {"path": "/data/hub", "type": "Directory"}}, None),
        (None, {"emptyDir": {}}, None),
    ],
)
@pytest.mark.slow
def test_weights_are_where_the_user_has_them(
    cluster: Cluster, volume: str | None, source: Json, path: str | None
) -> None:
    """A claim, a folder of the nodes, or the hub each time."""
    args = ("--volume", volume) if volume else ()
    deployment = only(manifest(cluster, *args), "Deployment", "replica")
    (pod,) = pod_specs(deployment)
    assert {"name": "weights", **source} in pod["volumes"]
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "weights")
    assert (mount["mountPath"], mount.get("subPath")) == ("/hub", path)


def test_a_folder_of_this_machine_is_named_in_the_cluster(
    cluster: Cluster, one_machine_each: DeploymentPlan, tmp_path: Path
) -> None:
    """Else every pod would look for it in vain."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = one_machine_each.model.changed(path=str(folder))
    cluster.plan(one_machine_each.changed(model=model))
    refused = cluster.launch("--dry-run")
    assert refused.returncode == 2
    assert "say where the cluster has it: --volume pvc:NAME/FOLDER" in refused.stderr
    (pod,) = pod_specs(only(manifest(cluster, "--volume", "pvc:x/llama"), "Deployment", "replica"))
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "weights")
    assert mount == {
        **{"name": "weights", "mountPath": str(folder), "subPath": "llama"},
        "readOnly": True,
    }


def test_stdout_is_the_manifest_and_a_file_has_it_whole(cluster: Cluster, tmp_path: Path) -> None:
    """What has to be known besides is on stderr."""
    path = tmp_path / "manifest.yaml"
    printed = cluster.launch("--dry-run")
    written = cluster.launch("-o", str(path))
    assert written.returncode == 0
    assert written.stdout == ""
    assert path.read_text() == printed.stdout
    assert "Images: vllm/vllm-openai:v0.33.0 and caddy:" in printed.stderr
    assert "noticed within 150 s" in printed.stderr
    assert cluster.objects() == []


def test_words_that_look_like_variables_are_left_alone(cluster: Cluster) -> None:
    """The kubelet replaces what the deployment means, and nothing of the user's."""
    objects = manifest(cluster, "--engine-arg=--seed=$(POD_IP)")
    (engine,) = containers(only(objects, "Deployment", "replica"))
    assert engine["args"][-1] == "--seed=$$(POD_IP)"


def test_kserve_has_the_same_plan_in_one_object(wide: Cluster) -> None:
    """Its own templates give the split; the limits of the plan go along."""
    (service,) = manifest(wide, "--format", "kserve")
    check(service)
    spec = service["spec"]
    assert spec["parallelism"] == {"tensor": 8, "pipeline": 2}
    assert spec["model"]["uri"] == "hf://deepseek-ai/DeepSeek-R1"
    assert spec["template"] == spec["worker"]
    (variable,) = spec["worker"]["containers"][0]["env"]
    assert variable["name"] == "VLLM_ADDITIONAL_ARGS"
    told = variable["value"].split()
    assert "--max-model-len" in told
    assert not {"--port", "--nnodes", "--middleware", "--headless"} & set(told)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--name", "My_Plan"), "in Kubernetes names have up to 40 lower-case letters"),
        (("--namespace", "a/b"), "--namespace a/b: use lower-case letters"),
        (("--volume", "models"), "--volume models: give pvc:NAME, pvc:NAME/FOLDER or a path"),
        (("--volume", "pvc:a/../b"), "--volume pvc:a/../b: give pvc:NAME"),
        (("--format", "helm"), "--format helm: known: kserve, plain"),
        (("--python", "python3"), "--python is not for --on kubernetes: name an image"),
        (("--host", "10.0.0.1", "--insecure"), "--host is not for --on kubernetes"),
        (("--metrics",), "--metrics is not for --on kubernetes"),
        (("--executable", "vllm"), "--executable is not for --on kubernetes: name an image"),
        (("--systemd", "user"), "--systemd: kubernetes supervises it by itself"),
        (("--sbatch", "partition=x"), "--sbatch is for --on slurm"),
    ],
)
def test_what_means_nothing_there_is_refused(
    cluster: Cluster, args: tuple[str, ...], words: str
) -> None:
    """In one line that says what would work."""
    done = cluster.launch("--dry-run", *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_options_of_clusters_are_for_clusters(cluster: Cluster) -> None:
    """Elsewhere they would be forgotten."""
    done = cluster.run("launch", "--dry-run", "--namespace", "serving")
    assert done.returncode == 2
    assert "--namespace is for --on kubernetes" in done.stderr
