"""Values that the kernel shows in files."""

from pathlib import Path


def kernel_text(path: Path) -> str:
    """The text of a kernel file; empty where the kernel has none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
