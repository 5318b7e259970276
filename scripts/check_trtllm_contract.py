"""Holds the contract with TensorRT-LLM against a real `trtllm-serve`.

Usage: python scripts/check_trtllm_contract.py [TRTLLM_SERVE]

Reads the options in `trtllm-serve serve --help` (or `--help`, where it has no subcommands) and
prints how they differ from tpdeploy/backends/contracts/tensorrt-llm.yaml. Exit code 1 when one
that the adapter gives is missing. The file of options has no help to be held against: a key that
is not known ends the engine while it starts, and its log says which.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tpdeploy.backends import tensorrt_llm
from tpdeploy.backends.meaning import Change, changed, example_plan, told

CONTRACT = Path(tensorrt_llm.__file__).parent / "contracts" / "tensorrt-llm.yaml"
# A line of click's help that begins the description of an option, and the names in it.
OPTION_LINE = re.compile(r"^  (?:-\w, )?--[a-z].*$", re.MULTILINE)
NAME = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def main(program: str) -> int:
    """Compare, and say what came of it."""
    flags = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["flags"]
    listed = {*flags, *(d["same_as"] for d in flags.values() if "same_as" in d), "--help"}
    given, known = given_flags(), help_flags(program)
    for flag in sorted(known - listed):
        print(f"{flag}: not in the contract")
    for flag in sorted(listed - known - given):
        print(f"{flag}: not there")
    for flag in sorted(given - known):
        print(f"{flag}: MISSING, the adapter gives it")
    print(f"{len(given & known)} of the {len(given)} flags that the adapter gives are there")
    return 1 if given - known else 0


def given_flags() -> set[str]:
    """Every flag that the adapter gives, for the plan that needs most of them."""
    engine = tensorrt_llm.TensorRtLlmBackend()
    made = changed(example_plan(engine), Change("parallelism.expert", 4))
    return {name for name in told(engine, made) if name.startswith("--")}


def help_flags(program: str) -> set[str]:
    """Every long option in the help of `program`."""
    for arguments in (["serve", "--help"], ["--help"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        found = {name for line in OPTION_LINE.findall(done.stdout) for name in NAME.findall(line)}
        if done.returncode == 0 and len(found) > 1:
            return found
    sys.exit(f"{program} --help lists no options: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "trtllm-serve"))
