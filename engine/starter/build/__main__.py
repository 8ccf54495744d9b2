"""Build the starter from nothing: `python -m engine.starter.build`.

Stages, each kept in a work folder, so that an interrupted build goes on where it was: tokenizer
and policy, what the policy writes, the judge, the prompts. Tables say how good they are, and the
files go to their place. About an hour on two cores; the same seed and number of processes
on the same machine give the same files.
"""

import argparse
import json
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
    parser.add_argument(
        "--out", type=Path, help="where the built files go; without it they are the bundled ones"
    )
    parser.add_argument("--processes", type=int, choices=(1, 2, 4), default=min(2, cores()))
    parser.add_argument(
        "--every", type=int, default=1, help="take one in so many steps, to try the build quickly"
    )
    options = parser.parse_args()
    if options.every > 1 and not options.out:
        parser.error("--every makes models of no use: --out has to say where they go")
    out = options.out or DATA
    prepare_process()
    from engine.starter.build.processes import is_one_of_several, run_in_processes
    from engine.starter.build.stages import build

    if is_one_of_several():
        build(options.work, options.seed, options.every)
        return
    started = time.time()
    try:
        begin_or_go_on(options.work, options.seed, options.processes, options.every)
    except ValueError as error:
        parser.error(str(error))
    if options.processes == 1:
        build(options.work, options.seed, options.every)
    elif status := run_in_processes(
        options.processes, ["-m", "engine.starter.build", *sys.argv[1:]]
    ):
        sys.exit(status)
    for part in ("policy", "judge", "prompts"):
        with new_folder(out / part, private=False) as folder:
            shutil.copytree(options.work / part, folder, dirs_exist_ok=True)
    print(f"{out}: {time.time() - started:.0f} s", flush=True)


def begin_or_go_on(work: Path, seed: int, processes: int, every: int) -> None:
    """Note in `work` what its files are made with, or see that it is the same as before.

    Raises:
        ValueError: what is there was made otherwise, and would be taken for what is asked for.
    """
    wanted = {"seed": seed, "processes": processes, "every": every}
    note = work / "build.json"
    work.mkdir(parents=True, exist_ok=True)
    made = json.loads(note.read_text()) if note.exists() else wanted
    if made != wanted:
        words = " ".join(f"--{name} {value}" for name, value in made.items())
        raise ValueError(f"{work} is of a build with {words}; give another --work, or remove it")
    note.write_text(json.dumps(wanted) + "\n")


def prepare_process() -> None:
    """Settle threads for matrices as small as these, and import MLX."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second thread only waits
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import_mlx()


if __name__ == "__main__":
    main()
