"""Measures what kernels reach on this machine: python measure.py JOB.

Runs inside an engine's environment and imports nothing of tpdeploy. JOB is JSON: `cpus`, the cores
of each share by number, or `devices`, GPU numbers; `seconds` for each figure; `passes`, how often
each is measured; `distribution`, the engine's package. Every share or GPU works at once, as in
serving; the first prints what it found, a JSON object a line. The engine's own kernels are taken
where they can be called alone (vLLM's products on CPUs, its attention on both), else PyTorch's;
each line names its own. On GPUs what is timed are replays of a CUDA graph, as in serving: launched
one by one, short kernels cost what the CPU needs.
"""

import json
import sys

from measuring.work import main  # of the folder beside this file, where Python looks first

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
