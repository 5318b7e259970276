"""GPUs that people have and that no engine here runs on, and why.

By NVIDIA's list of compute capabilities (developer.nvidia.com/cuda-gpus), and vLLM's of what it
supports (docs/getting_started/installation of 0.31), the engine that needs the least: compute
capability 7.5, 7.0 in builds for CUDA 12; gfx90a, gfx942, gfx950, gfx11 and gfx12.
"""

from tpdeploy.profiles.naming import gpu_key

_CAPABILITIES = {
    "3.7": ("K80",),
    "5.2": ("M4", "M40", "M60"),
    "6.0": ("P100",),
    "6.1": (
        *("P4", "P40", "P6", "Titan X", "Titan Xp"),
        *("GTX 1050 Ti", "GTX 1060", "GTX 1070", "GTX 1070 Ti", "GTX 1080", "GTX 1080 Ti"),
        *("1060", "1070", "1070 Ti", "1080", "1080 Ti"),
    ),
}
_TARGETS = {
    "gfx900": ("MI25",),
    "gfx906": ("MI50", "MI60", "Radeon VII"),
    "gfx908": ("MI100",),
    "gfx1030": ("RX 6800", "RX 6800 XT", "RX 6900 XT", "RX 6950 XT"),
}
_REASONS = {
    **{
        gpu_key(name): f"it has compute capability {has}, vllm needs 7 or more"
        for has, names in _CAPABILITIES.items()
        for name in names
    },
    **{
        gpu_key(name): f"it is {target}, which vllm does not support"
        for target, names in _TARGETS.items()
        for name in names
    },
}


def unserved(name: str) -> str:
    """Why no engine here runs on the GPU called `name`; "" where that is not known.

    >>> unserved("Tesla P40")
    'no engine here runs on Tesla P40: it has compute capability 6.1, vllm needs 7 or more (all \
that are planned: tpdeploy gpus)'
    """
    # Drivers say the form and the memory too: Tesla P100-PCIE-16GB.
    kind = name.upper().split("-PCIE")[0].split("-SXM")[0]
    why = _REASONS.get(gpu_key(kind))
    return (
        f"no engine here runs on {name}: {why} (all that are planned: tpdeploy gpus)" if why else ""
    )
