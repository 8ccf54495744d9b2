"""Build the starter from nothing: `python -m engine.starter.build`.

Stages, each kept in a work folder, so that an interrupted build goes on where it was: tokenizer
and policy, what the policy writes, the judge, the prompts. Tables say how good they are, and the
files go to their place. About an hour on two cores; the same seed and number of processes
on the same machine give the same files.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from engine.machine.blas import import_mlx
from engine.machine.device import cores
from engine.runs.durable import new_folder
from engine.starter import DATA


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the starter from nothing.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("starter-build"), help="unfinished files")
    parser.add_argument("--out", type=Path, default=DATA, help="where the built files go")
    parser.add_argument("--processes", type=int, choices=(1, 2, 4), default=min(2, cores()))
    parser.add_argument(
        "--every", type=int, default=1, help="take one in so many steps, to try the build quickly"
    )
    options = parser.parse_args()
    prepare_process()
    from engine.starter.build.processes import is_one_of_several, run_in_processes
    from engine.starter.build.stages import build

    if is_one_of_several():
        build(options.work, options.seed, options.every)
        return
    started = time.time()
    if options.processes == 1:
        build(options.work, options.seed, options.every)
    elif status := run_in_processes(
        options.processes, ["-m", "engine.starter.build", *sys.argv[1:]]
    ):
        sys.exit(status)
    for part in ("policy", "judge", "prompts"):
        with new_folder(options.out / part, private=False) as folder:
            shutil.copytree(options.work / part, folder, dirs_exist_ok=True)
    print(f"{options.out}: {time.time() - started:.0f} s", flush=True)


def prepare_process() -> None:
    """Settle threads for matrices as small as these, and import MLX."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second thread only waits
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import_mlx()


if __name__ == "__main__":
    main()
