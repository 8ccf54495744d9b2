"""Build the starter from nothing: `python -m engine.starter.build`.

Stages, each kept in a work folder, so that an interrupted build goes on where it was: tokenizer
and policy, what the policy writes, the judge, the prompts. Tables say how good they are, and the
files go to their place. Most of an hour on one core of a PC; the same seed on the same machine
gives the same files.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

from engine.hardware import load_fast_blas
from engine.starter import DATA


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the starter from nothing.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("starter-build"), help="unfinished files")
    parser.add_argument("--out", type=Path, default=DATA, help="where the built files go")
    options = parser.parse_args()
    started = time.time()
    prepare_process()
    from engine.starter.stages import build

    build(options.work, options.seed)
    for part in ("policy", "judge", "prompts"):
        shutil.rmtree(options.out / part, ignore_errors=True)
        shutil.copytree(options.work / part, options.out / part)
    print(f"{options.out}: {time.time() - started:.0f} s", flush=True)


def prepare_process() -> None:
    """Load the fast BLAS, and settle threads for matrices as small as these."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second thread only waits
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    load_fast_blas()


if __name__ == "__main__":
    main()
