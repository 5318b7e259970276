"""Stands in for the Python of an engine's environment: prints what measuring would.

Run as PYTHON PROGRAM JOB. With TPDEPLOY_TEST_FAIL set it ends as a broken environment does.
"""

import json
import os
import sys
import time


def main() -> None:
    """Print one object a line, among lines of others."""
    job = json.loads(sys.argv[2])
    if os.environ.get("TPDEPLOY_TEST_FAIL"):
        raise ModuleNotFoundError("No module named 'torch'")
    spread = float(os.environ.get("TPDEPLOY_TEST_SPREAD", "0.01"))
    print("INFO something an engine logs", flush=True)
    tell(kind="device", name="Test CPU", versions={job["distribution"]: "1.2.3"})
    tell(kind="remark", text="vLLM's attention cannot be called here: ImportError: x")

    def figure(kind: str, seconds: float, **shape: int) -> None:
        tell(kind=kind, shape=shape, kernel="vLLM", seconds=seconds, spread=spread)

    figure("read", 0.01, bytes=2**28)
    for rows in (1, 16, 256, 1024):
        figure("product", 1e-5 + rows * 1e-5, rows=rows, inputs=1024, outputs=1024)
        figure("small", 1e-4 + rows * 1e-6, rows=rows, hidden=1024, wide=4096)
    for tokens in (128, 512, 2048):
        heads = {"heads": 8, "kv_heads": 2, "head_size": 64, "tokens": tokens}
        figure("prompt", tokens * tokens * 1e-9, **heads)
        figure("context", tokens * 1e-7, **heads, sequences=4)
    if len(job["cpus"]) > 1:
        for size in (4096, 2**20):
            shape = {"group": 2, "bytes": size}
            tell(
                kind="all-reduce",
                shape=shape,
                kernel="shared-memory",
                seconds=size * 1e-9,
                spread=0,
            )
    time.sleep(float(os.environ.get("TPDEPLOY_TEST_SLEEP", "0")))


def tell(**figures: object) -> None:
    """One line."""
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
