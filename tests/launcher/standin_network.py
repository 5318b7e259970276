"""Stands in for the Python of an engine's environment on several machines: prints figures.

Run as PYTHON PROGRAM --rank M --head ADDRESS --port P JOB. With TPDEPLOY_TEST_FAIL set it ends as
a broken environment does, with TPDEPLOY_TEST_SHORT before its last line.
"""

import json
import os
import sys
import time
from itertools import product

HOP_S, BYTES_PER_S = 20e-6, 10e9


def main() -> None:
    """Print one object a line, among lines of others, as the first rank."""
    words = sys.argv[2:]
    given, job = dict(zip(words[:-1:2], words[1:-1:2], strict=True)), json.loads(words[-1])
    if os.environ.get("TPDEPLOY_TEST_FAIL"):
        raise ModuleNotFoundError("No module named 'torch'")
    if given["--rank"] != "0":
        time.sleep(60)  # ended with the other
        return
    print("INFO something an engine logs", flush=True)
    machines, each = job["machines"], job["each"]
    versions = {job["distribution"]: "1.2.3"}
    tell("machines", hosts=["a", "b"][:machines], hardware=["Test GPU"], versions=versions)
    groups = [(machines, 1)]
    if each > 1:
        groups += [(machines, each), (machines * each, 1)]
    for (group, rails), size in product(groups, job["sizes"]):
        seconds = 2 * HOP_S + size / BYTES_PER_S
        shape = {"group": group, "machines": machines, "rails": rails, "bytes": size}
        tell("all-reduce", kernel="nccl", **shape, seconds=seconds, spread=0.01)
    if not os.environ.get("TPDEPLOY_TEST_SHORT"):
        tell("done")


def tell(kind: str, **figures: object) -> None:
    """One line."""
    print(json.dumps({"kind": kind, **figures}), flush=True)


if __name__ == "__main__":
    main()
