"""What NVML says on a machine with two H100 on NVSwitch."""

from types import SimpleNamespace

NVML_P2P_CAPS_INDEX_NVLINK = 0
NVML_P2P_STATUS_OK = 0


class NVMLError(Exception):
    """NVML's own."""


def nvmlInit() -> None:  # noqa: N802 - NVML's name
    pass


def nvmlShutdown() -> None:  # noqa: N802 - NVML's name
    pass


def nvmlDeviceGetCount() -> int:  # noqa: N802 - NVML's name
    return 2


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802 - NVML's name
    return index


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802 - NVML's name
    return "NVIDIA H100 80GB HBM3"


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:  # noqa: N802 - NVML's name
    return SimpleNamespace(total=81_559 << 20)


def nvmlDeviceGetNvLinkState(handle: int, link: int) -> int:  # noqa: N802 - NVML's name
    return 1


def nvmlDeviceGetP2PStatus(one: int, other: int, kind: int) -> int:  # noqa: N802
    return 0
