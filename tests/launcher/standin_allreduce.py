"""Stands in for the Python of an engine's environment: tells what all-reduces would.

Run as PYTHON PROGRAM JOB. TPDEPLOY_TEST_STOP names the step after which rank 1 hangs, or ends with
an error if TPDEPLOY_TEST_ERROR has one; not, if TPDEPLOY_TEST_CURE names a variable that is set.
"""

import json
import os
import sys
import time

STEPS = ["started", "loaded", "met", "gloo", "nccl"]


def main() -> None:
    """Each rank's steps, one after the other, among lines of others."""
    job = json.loads(sys.argv[2])
    stop, cure = os.environ.get("TPDEPLOY_TEST_STOP"), os.environ.get("TPDEPLOY_TEST_CURE", "")
    if cure in os.environ:
        stop = None
    print("NCCL version 2.30, without an end of its line: ", end="", flush=True)
    for step in STEPS[: -1 if job["on"] == "cpu" else None]:
        for group, ranks in enumerate(job["groups"]):
            for rank in range(len(ranks)):
                tell(group=group, rank=rank, done=step, seconds=2e-4, bytes=2**20)
        if step == stop:
            hang(os.environ.get("TPDEPLOY_TEST_ERROR"))


def hang(error: str | None) -> None:
    """As a rank that waits for another one, or has an error."""
    print("host:1:2 [0] init.cc:1 NCCL WARN Cuda failure", flush=True)
    if error:
        tell(group=0, rank=1, error=error)
        sys.exit(1)
    time.sleep(600)


def tell(**what: object) -> None:
    """One line."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
