"""This program's phases against their roofline, measured in a process of its own."""

import json
import sys
from pathlib import Path

from tests.benchmarks.random_model import Shape
from tests.benchmarks.workers.turns import Turns


def main() -> None:
    told = json.loads(sys.argv[1])
    turns = Turns(told["threads"])
    from engine.machine.blas import load_fast_blas

    load_fast_blas()
    from tests.benchmarks.contest import Setting
    from tests.benchmarks.parts import Parts
    from tests.benchmarks.roofline import measure

    setting = Setting(**told["setting"] | {"shape": Shape(**told["setting"]["shape"])})
    parts = Parts(setting, Path(told["folder"], "roofline"))
    while True:
        turns.wait()
        turns.answer(measure(setting, parts, 3))


if __name__ == "__main__":
    main()
