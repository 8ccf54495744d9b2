"""The processor, as Linux describes it."""

from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@cache
def is_intel() -> bool:
    """Whether it is Intel's; what Linux does not tell of is not."""
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as file:
            vendor = next((line for line in file if line.startswith("vendor_id")), "")
    except OSError:
        return False
    return vendor.partition(":")[2].strip() == "GenuineIntel"
