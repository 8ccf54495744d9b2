"""Sums over ranks: in parts, each with a limit, and equal on all."""

import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.distributed import group as rank_group
from engine.distributed.group import Group, SumTimeout
from engine.machine.launch import Place
from tests.end_to_end.ranks import ROOT, hosts_of

PLACE = Place(0, 2, "ring", "127.0.0.1")


def test_a_large_array_is_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def twice(array: mx.array, **_: Any) -> mx.array:
        sizes.append(array.size)
        return array + array

    monkeypatch.setattr(mx.distributed, "all_sum", twice)
    monkeypatch.setattr(rank_group, "BYTES_AT_ONCE", 40)
    group = Group(PLACE)
    array = np.arange(25, dtype=np.float32)
    assert (group.sum(array, mx.float32, lambda: None) == 2 * array).all()
    assert sizes == [10, 10, 5]
    assert group.bytes_sent == 100
    bits = np.array(mx.array(array, mx.bfloat16).view(mx.uint16))
    total = mx.array(group.sum(bits, mx.bfloat16, lambda: None)).view(mx.bfloat16)
    assert (np.array(total.astype(mx.float32)) == 2 * array).all()
    assert group.spread(b"x" * 99, 99, lambda: None) == bytes([2 * ord("x")] * 99)


def test_a_network_that_is_cut_is_noticed_as_soon_with_many_bytes_as_with_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut = threading.Event()

    def stuck(array: mx.array, **_: Any) -> mx.array:
        if sums:
            cut.wait(30)
        sums.append(array.size)
        return array

    sums: list[int] = []
    monkeypatch.setattr(mx.distributed, "all_sum", stuck)
    monkeypatch.setattr(rank_group, "SUM_SECONDS", 0.2)
    monkeypatch.setattr(rank_group, "SUM_BYTES_PER_SECOND", 1e6)
    monkeypatch.setattr(rank_group, "BYTES_AT_ONCE", 100_000)
    start = time.monotonic()
    with pytest.raises(SumTimeout):
        Group(PLACE).sum(np.zeros(20_000_000, np.uint8), mx.uint8, lambda: None)
    assert time.monotonic() - start < 10  # the whole array might take twenty seconds
    cut.set()


SUMS = """
import os, sys, zlib
import mlx.core as mx
import numpy as np
from engine.distributed import group as rank_group
from engine.machine.launch import place

here = place()
group = rank_group.Group(here)
group.start(lambda: None)
chance = np.random.default_rng(here.rank)
own = chance.normal(size=100_003).astype(np.float32)
for at_once in (1 << 24, 4_000):
    rank_group.BYTES_AT_ONCE = at_once
    for dtype in (mx.float32, mx.bfloat16):
        array = mx.array(own).astype(dtype)
        bits = np.array(array if dtype == mx.float32 else array.view(mx.uint16))
        print(zlib.crc32(group.sum(bits, dtype, lambda: None).tobytes()))
    print(zlib.crc32(group.spread(own.tobytes(), own.nbytes, lambda: None)))
group.spread(b"x", 1, lambda: None)  # nobody leaves before the last sum
sys.stdout.flush()
os._exit(0)
"""


def test_parts_add_up_to_the_same_bits(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SUMS], env=each, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for each in hosts_of(2, tmp_path)
    ]
    try:
        first, second = (each.communicate(timeout=120)[0].split() for each in ranks)
    finally:
        for each in ranks:
            each.kill()
    assert first == second
    assert len(first) == 6
    assert first[:3] == first[3:]
    chance = [np.random.default_rng(rank) for rank in range(2)]
    own, other = (each.normal(size=100_003).astype(np.float32) for each in chance)
    assert int(first[0]) == zlib.crc32((own + other).tobytes())
    assert int(first[2]) == zlib.crc32(own.tobytes())
