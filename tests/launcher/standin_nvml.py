"""What NVML says on a machine with two H100 on NVSwitch; tests change the values in capitals."""

from types import SimpleNamespace

NVML_P2P_CAPS_INDEX_READ = 0
NVML_P2P_CAPS_INDEX_NVLINK = 2
NVML_P2P_STATUS_OK = 0
NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED = 1

NAME = "NVIDIA H100 80GB HBM3"
TOTAL_BYTES = 81_559 << 20
USED_BYTES = [600 << 20, 600 << 20]  # of each GPU; the driver's own share
PROCESSES: list[SimpleNamespace] = []  # of the first GPU
READS_PEERS = True
NVLINK_UP = True


class NVMLError(Exception):
    """NVML's own."""


def nvmlInit() -> None:  # noqa: N802 - NVML's name
    pass


def nvmlShutdown() -> None:  # noqa: N802 - NVML's name
    pass


def nvmlSystemGetDriverVersion() -> bytes:  # noqa: N802 - NVML's name
    return b"570.124.06"


def nvmlSystemGetCudaDriverVersion() -> int:  # noqa: N802 - NVML's name
    return 12080


def nvmlDeviceGetCount() -> int:  # noqa: N802 - NVML's name
    return 2


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802 - NVML's name
    return index


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802 - NVML's name
    return NAME


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:  # noqa: N802 - NVML's name
    return SimpleNamespace(total=TOTAL_BYTES, free=TOTAL_BYTES - USED_BYTES[handle])


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[SimpleNamespace]:  # noqa: N802
    return PROCESSES if handle == 0 else []


def nvmlDeviceGetPciInfo(handle: int) -> SimpleNamespace:  # noqa: N802 - NVML's name
    raise NVMLError("Not Supported")  # as in some virtual machines


def nvmlDeviceGetNvLinkState(handle: int, link: int) -> int:  # noqa: N802 - NVML's name
    return int(NVLINK_UP)


def nvmlDeviceGetP2PStatus(one: int, other: int, kind: int) -> int:  # noqa: N802
    return NVML_P2P_STATUS_OK if READS_PEERS else NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED
