"""What one step of several machines moves, computes and takes, on paper:
`python -m tests.benchmarks.ranks_on_paper`, and `--measure` for this machine's constants.

A step is one of `--batch` prompts over all machines, two completions of each, judged in both orders
by the model that the run starts from. Multiply-adds are those of weights alone, two a parameter and
token (attention is left out): sampling; judging; the reference forward, the policy forward, once
more to recompute activations, and back - to the activations and, in full training, to the weights.
A decoded token takes as long as its products or as reading all weights, whichever is longer; so
fewer prompts a machine make decoding no faster.

Of the sums: in a ring, NCCL's included, each rank sends 2 (n - 1) / n of the gradients, float32 for
adapters and what the model has for full training (bfloat16 here). Beside that go the messages of
rank 0 to the others, and what packing takes at both ends, as measured on loopback.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.ranks import ROOT, ended_with, free_ports
from tests.signals import leave_when_told_to_end

# -- measured --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Of two ranks on one machine; `--measure` has the first two anew, and the metric `sent_mb` of
    a run less its gradients the third: 1.75 kB a pair of some 45 tokens on the starter."""

    sum_latency: float  # seconds of a sum of nothing
    packing_rate: (
        float  # bytes a second that gradients are laid end to end, checked and taken apart
    )
    token_bytes: float  # of messages, a token of a pair: ids and texts in JSON


MEASURED = Measured(sum_latency=0.0075, packing_rate=750e6, token_bytes=39)

# -- assumed ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """Peaks by its maker, and the shares of them that are reached (assumed)."""

    name: str
    flops: float  # bfloat16, multiply and add counted apart
    bandwidth: float  # of its memory, bytes a second
    memory: float  # bytes
    share: float = 0.4  # of the peak in products
    read_share: float = 0.6  # of the bandwidth in decoding


@dataclass(frozen=True)
class Link:
    """Bytes a second each way, and seconds to begin a message."""

    name: str
    rate: float
    latency: float


MAC = Machine("Mac Studio, M3 Ultra", 28e12, 819e9, 512e9)
GPU = Machine("H100", 989e12, 3350e9, 80e9)
ETHERNET = Link("10 GbE", 1.1e9, 50e-6)
THUNDERBOLT = Link("Thunderbolt 5", 8e9, 50e-6)
NVLINK = Link("NVLink", 400e9, 5e-6)
INFINIBAND = Link("InfiniBand NDR", 45e9, 10e-6)
GPUS_A_BOX = 8  # up to so many by NVLink, more by InfiniBand

PROMPT, COMPLETION, RUBRIC = 128, 256, 150  # tokens
RANK, LAYERS = 8, 16  # of adapters, as the settings have them


@dataclass(frozen=True)
class Model:
    """A decoder with gated feed-forward parts."""

    name: str
    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    width: int
    vocabulary: int
    tied: bool = False

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Of one layer."""
        queries, keys = self.heads * self.width, self.kv_heads * self.width
        attention = [(self.hidden, queries), *[(self.hidden, keys)] * 2, (queries, self.hidden)]
        return [*attention, *[(self.hidden, self.feed_forward)] * 3]

    @property
    def parameters(self) -> int:
        layer = sum(rows * columns for rows, columns in self.matrices)
        return self.layers * layer + (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def adapters(self) -> int:
        """Parameters of LoRA."""
        layer = sum(RANK * (rows + columns) for rows, columns in self.matrices)
        return min(LAYERS, self.layers) * layer


MODELS = (
    Model("0.6 B", 1024, 28, 3072, 16, 8, 128, 151_936, tied=True),
    Model("8 B", 4096, 36, 12_288, 32, 8, 128, 151_936),
    Model("70 B", 8192, 80, 28_672, 64, 8, 128, 128_256),
)
MACHINES = (1, 2, 4, 8, 64)


@dataclass(frozen=True)
class Step:
    """A step of a model that is trained in full or not, on some machines."""

    model: Model
    full: bool
    machines: int
    batch: int

    @property
    def weight_bytes(self) -> float:
        """Of one copy: 4 bits with their scales under adapters, else bfloat16."""
        return self.model.parameters * (2 if self.full else 4.5 / 8)

    @property
    def gradient_bytes(self) -> float:
        return self.model.parameters * 2 if self.full else self.model.adapters * 4

    @property
    def memory(self) -> float:
        """Bytes of weights on each machine: one copy under adapters; in full training the policy,
        its start, which is reference and judge, gradients, and two moments."""
        return self.weight_bytes + (4 * self.weight_bytes if self.full else 0)

    @property
    def prompts(self) -> float:
        """Of one machine."""
        return max(1.0, self.batch / self.machines)

    @property
    def sent(self) -> float:
        """Bytes that each machine sends for sums."""
        return 2 * (self.machines - 1) / self.machines * self.gradient_bytes

    def flops(self) -> tuple[float, float]:
        """On one machine: of decoding, and of all else."""
        each = 2 * self.model.parameters * self.prompts
        judged = 2 * (PROMPT + 2 * COMPLETION + RUBRIC)
        scored = PROMPT + 2 * COMPLETION
        passes = 5 if self.full else 4
        return each * 2 * COMPLETION, each * (PROMPT + judged + passes * scored)

    def compute_seconds(self, machine: Machine) -> float:
        decode, rest = self.flops()
        speed = machine.flops * machine.share
        reading = COMPLETION * self.weight_bytes / (machine.bandwidth * machine.read_share)
        return max(decode / speed, reading) + rest / speed

    def sum_seconds(self, link: Link) -> float:
        """Of the sum and the messages that go before it."""
        if self.machines == 1:
            return 0.0
        hops = 2 * (self.machines - 1)
        # Rank 0 has a message for each other rank, four times a step.
        told = self.batch * (PROMPT + 2 * COMPLETION) * MEASURED.token_bytes
        messages = told / link.rate + 4 * (self.machines - 1) * link.latency
        packing = self.gradient_bytes / MEASURED.packing_rate
        return (
            MEASURED.sum_latency + self.sent / link.rate + hops * link.latency + packing + messages
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="One step of several machines, on paper.")
    parser.add_argument("--batch", type=int, default=256, help="prompts a step, of all machines")
    parser.add_argument("--measure", action="store_true", help="the constants of this machine")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        rank()
    elif options.measure:
        measure()
    else:
        print("\n".join(table(options.batch)))


# -- the table -------------------------------------------------------------------------------------


def table(batch: int) -> Iterator[str]:
    """Rows in Markdown."""
    columns = (
        ("model", "trained", "machines", "TFLOP each", "sent each"),
        ("Mac", "10 GbE", "Thunderbolt", "scales"),
        ("H100", "NCCL", "scales"),
    )
    yield "| " + " | ".join(name for group in columns for name in group) + " |"
    yield "|---|---|" + "---:|" * (sum(map(len, columns)) - 2)
    for model in MODELS:
        for full in (False, True):
            for machines in MACHINES:
                yield "| " + " | ".join(row(Step(model, full, machines, batch))) + " |"


def row(step: Step) -> list[str]:
    nccl = NVLINK if step.machines <= GPUS_A_BOX else INFINIBAND
    return [
        step.model.name,
        "full" if step.full else "LoRA",
        str(step.machines),
        f"{sum(step.flops()) / 1e12:,.0f}",
        size(step.sent),
        *on(step, MAC, ETHERNET, THUNDERBOLT),
        *on(step, GPU, nccl),
    ]


def on(step: Step, machine: Machine, *links: Link) -> list[str]:
    """Seconds of computing, of sums by each link, and how many times one machine's speed it is by
    the last of them; nothing where it does not fit."""
    if step.memory > 0.8 * machine.memory:
        return ["–"] * (2 + len(links))
    compute = step.compute_seconds(machine)
    sums = [step.sum_seconds(link) for link in links]
    alone = Step(step.model, step.full, 1, step.batch).compute_seconds(machine)
    return [
        seconds(compute),
        *(seconds(each) for each in sums),
        f"{alone / (compute + sums[-1]):.1f}",
    ]


def size(count: float) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


# -- measuring -------------------------------------------------------------------------------------

SIZES = (0, 1 << 18, 1 << 20, 1 << 22, 1 << 24)  # numbers
TIMES = 7


def measure() -> None:
    """Time sums of gradients between two ranks on loopback."""
    leave_when_told_to_end()
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
        command = [sys.executable, "-m", "tests.benchmarks.ranks_on_paper", "--rank"]
        ranks = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "MLX_HOSTFILE": str(hosts), "MLX_RANK": str(number)},
            )
            for number in range(2)
        ]
        with ended_with(ranks):
            if any(each.wait() for each in ranks):
                sys.exit("a rank has failed")


def rank() -> None:
    """Be one of two ranks; the first tells."""
    from engine.machine.blas import import_mlx

    import_mlx()
    import mlx.core as mx

    from engine.distributed.group import Group
    from engine.machine.launch import place
    from engine.train.ranks.shares import reduced

    here = place()
    assert here
    group = Group(here)
    group.start(lambda: None)

    class NoOther:
        """A group that sends nothing: what is left is the packing."""

        def sum(self, array: object, dtype: object, alive: object) -> object:
            return array

    for short in (False, True):
        for count in SIZES:
            gradients = {str(part): mx.random.normal((max(1, count // 8),)) for part in range(8)}
            mx.eval(gradients)
            times: dict[str, list[float]] = {"summed": [], "packed": []}
            for _ in range(TIMES):
                for name, each in (("summed", group), ("packed", NoOther())):
                    start = time.perf_counter()
                    total, _, _ = reduced(each, gradients, 1, lambda: None, short=short)  # pyright: ignore[reportArgumentType]
                    mx.eval(total)
                    times[name].append(time.perf_counter() - start)
            if here.rank == 0:
                sent = count * (2 if short else 4)
                both = {name: min(each) for name, each in times.items()}
                rates = {name: 4 * count / each / 1e6 for name, each in both.items()}
                print(
                    f"{'bfloat16' if short else 'float32':8} {sent / 1e6:8.2f} MB: "
                    f"summed in {1000 * both['summed']:8.2f} ms ({rates['summed']:5.0f} MB/s of "
                    f"float32), packed in {1000 * both['packed']:8.2f} ms "
                    f"({rates['packed']:5.0f} MB/s)",
                    flush=True,
                )
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
