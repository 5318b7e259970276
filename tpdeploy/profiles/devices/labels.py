"""How Kubernetes calls devices: the resource that a pod asks for, and the label of their nodes.

NVIDIA's GPU feature discovery writes the driver's product name with dashes for spaces, and with
time slicing an ending, -SHARED, which is not asked for here. AMD's node labeller writes names of
its own, which the accelerators' records keep.
"""

from collections.abc import Mapping

from tpdeploy.errors import InputError
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import accelerators

RESOURCES: Mapping[str, str] = {
    "cuda": "nvidia.com/gpu",
    "rocm": "amd.com/gpu",
    "gaudi": "habana.ai/gaudi",
}
LABELS: Mapping[str, str] = {
    "cuda": "nvidia.com/gpu.product",
    "rocm": "amd.com/gpu.product-name",
}
# How the names begin that NVIDIA's drivers give.
DRIVER_NAMES = ("NVIDIA ", "Tesla ")


def product_labels(device: Accelerator) -> tuple[str, ...]:
    """The values that the product label of its nodes may have; empty where none is known."""
    names = [alias for alias in device.aliases if alias.startswith(DRIVER_NAMES)]
    return (*(name.replace(" ", "-") for name in names), *device.product_labels)


def labelled(value: str) -> Accelerator:
    """The accelerator whose nodes have that product label.

    Raises:
        InputError: none in the catalog has.
    """
    for device in accelerators():
        if value in product_labels(device):
            return device
    raise InputError(f"the product label {value} is of no GPU in the catalog")
