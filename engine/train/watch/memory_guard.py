"""Whether a process uses more memory than its run may: a run ends itself before the system has to
end the process."""

import mlx.core as mx

from engine.machine.memory import memory, process_memory
from engine.settings.schema import Settings


class MemoryGuard:
    """Watches over `memory_limit`, a share of the machine's memory."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.memory_limit * memory()[0]  # bytes; 0 where that is not known

    def excess(self) -> str | None:
        """How much is in use above the limit and what to do, in words; None below it."""
        if not self._limit or process_memory() <= self._limit:
            return None
        mx.clear_cache()  # arrays that MLX keeps for later can be had back
        used = process_memory()
        if used <= self._limit:
            return None
        return (
            f"{used / 1e9:.1f} GB are in use, above memory_limit ({self._limit / 1e9:.1f} GB); "
            "free memory or lower batch_size, then go on"
        )
