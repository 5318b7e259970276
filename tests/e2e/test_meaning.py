"""What the vLLM adapter renders means to vLLM's own parser what the plan says."""

import json
import subprocess
from pathlib import Path

import pytest

from tpdeploy.backends.base import Site
from tpdeploy.backends.meaning import example_plan
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.launcher.environments import find_environment

pytestmark = pytest.mark.engine

PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
print(json.dumps(vars(parsed), default=str))
"""


def test_vllms_own_parser_reads_every_number_of_a_plan() -> None:
    """A plan of Llama 70B: nothing is unknown to it, and nothing has moved."""
    made = example_plan(VllmBackend())
    limits, site = made.limits, Site("127.0.0.1", "8001", Path("replica-0"), ("9001",))
    argv = VllmBackend().render(made, made.placement[0], site).argv
    environment = find_environment(VllmBackend().environment("cpu"))
    assert environment is not None, "run: tpdeploy backends install vllm"
    command = [str(environment.python), "-c", PARSE, *argv[2:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert parsed["model_tag"] == made.model.id
    assert parsed["served_model_name"] == [made.model.id]
    assert (parsed["host"], parsed["port"]) == ("127.0.0.1", 8001)
    assert parsed["tensor_parallel_size"] == made.parallelism.tensor
    assert parsed["pipeline_parallel_size"] == made.parallelism.pipeline
    assert parsed["dtype"] == "bfloat16"
    assert parsed["max_model_len"] == limits.max_model_len
    assert parsed["max_num_seqs"] == limits.max_num_seqs
    assert parsed["max_num_batched_tokens"] == limits.max_num_batched_tokens
    assert parsed["gpu_memory_utilization"] == pytest.approx(limits.memory_fraction)
