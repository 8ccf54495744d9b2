"""The cgroups of this process on Linux, versions 1 and 2, and the memory that they grant."""

import re
from pathlib import Path

OLD_CGROUP_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def memory_limits() -> list[tuple[int, int]]:
    """(limit, use) in bytes of each limited cgroup above this process; file cache is no use."""
    limits = []
    for folder in folders("memory"):
        new = (folder / "memory.max").exists()
        names = ("memory.max", "memory.current") if new else OLD_CGROUP_MEMORY
        try:
            limit, used = ((folder / name).read_text().strip() for name in names)
            stat = (folder / "memory.stat").read_text()
            if limit == "max":
                continue
            key = "inactive_file" if new else "total_inactive_file"
            cached = re.search(rf"^{key} (\d+)$", stat, re.M)
            idle = int(cached.group(1)) if cached else 0
            limits.append((int(limit), max(int(used) - idle, 0)))
        except (OSError, ValueError):
            continue
    return limits


def folders(controller: str) -> list[Path]:
    """The cgroups of this process for a controller, innermost first; versions 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    matching: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", controller if controllers else "")
        inside = root / path.lstrip("/")
        matching += [each for each in (inside, *inside.parents) if each.is_relative_to(root)]
    return matching
