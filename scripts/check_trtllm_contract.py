"""Holds the contract with TensorRT-LLM against a real `trtllm-serve`.

Usage: python scripts/check_trtllm_contract.py [TRTLLM_SERVE]

Reads the options from `trtllm-serve serve --help` (or `--help` of releases without subcommands)
and prints which flags of tpdeploy/backends/contracts/tensorrt-llm.yaml it lacks. Exit code 1 when
one that tpdeploy gives is missing.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

CONTRACT = Path(__file__).parents[1] / "tpdeploy" / "backends" / "contracts" / "tensorrt-llm.yaml"


def main(program: str) -> int:
    """Compare, and say what came of it."""
    flags = yaml.safe_load(CONTRACT.read_text())["flags"]
    known = options(program)
    missing = [flag for flag in flags if flag not in known]
    for flag in flags:
        print(f"{flag:40} {'MISSING' if flag in missing else 'there'}")
    print(f"{len(flags) - len(missing)} of {len(flags)} flags are known to {program}")
    return 1 if missing else 0


def options(program: str) -> set[str]:
    """Every long option in the help of `program`."""
    for arguments in (["serve", "--help"], ["--help"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        found = set(re.findall(r"(--[a-z][\w-]*)", done.stdout))
        if done.returncode == 0 and len(found) > 1:
            return found
    sys.exit(f"{program} --help lists no options: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "trtllm-serve"))
