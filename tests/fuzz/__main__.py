"""Fuzzes every reader for a while with inputs of its own: `python -m tests.fuzz --minutes 10`."""

import argparse
import os
import subprocess
import sys
import time

EXAMPLES = "300"


def main() -> int:
    """Run the suite with one seed after the other until the time is over or an input fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    seed = given.seed
    while time.monotonic() < end:
        print(f"seed {seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "tests/fuzz"]
        environment = {**os.environ, "FUZZ_EXAMPLES": EXAMPLES}
        done = subprocess.run([*command, f"--hypothesis-seed={seed}"], env=environment, check=False)
        if done.returncode:
            return done.returncode
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
