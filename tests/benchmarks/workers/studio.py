"""This program: `engine.train.engine_thread.work`, as a run of the app or the command line has it.

Everything a run does is in the time: journal, files, metrics. The judge does all its work, but its
verdict is replaced by a clear one: that of a model with random weights is no answer or a tie,
and the pair would not be trained on.
"""

import json
import os
import sys
import tempfile
from typing import Any

from tests.benchmarks.workers.turns import Turns


def main() -> None:
    setting = json.loads(sys.argv[1])
    os.environ["LORA_STUDIO_HOME"] = tempfile.mkdtemp(dir=setting["folder"])
    from engine.control import Control
    from engine.events import RunStarted, StepDone
    from engine.machine.blas import load_fast_blas
    from engine.settings.files import from_mapping

    load_fast_blas()
    import mlx.core as mx

    turns = Turns(setting["threads"], mx.get_peak_memory if setting["gpu"] else None)
    from engine.judges.llm import LLMJudge
    from engine.judges.queued import QueuedJudge
    from engine.runs import archive
    from engine.train import engine_thread, ranks

    settings = from_mapping(setting["studio"] | setting.get("settings", {}), "the benchmark")
    decide(LLMJudge)
    ranks.Alone.sample = staticmethod(turns.timed("sample", ranks.Alone.sample))
    QueuedJudge.collect = turns.timed("judge", QueuedJudge.collect)

    def emit(event: Any) -> None:
        if isinstance(event, StepDone):
            turns.done()
        if isinstance(event, RunStarted | StepDone):
            turns.wait()

    engine_thread.work(settings, archive.create(settings), Control(), emit)


def decide(judge: Any) -> None:
    """Let every verdict of a judge be for the first completion, once it is there."""
    from engine.data.pairs import Verdict

    judge_pairs = judge.judge

    def judged(self: Any, texts: Any, names: Any = ()) -> list[Verdict]:
        return [Verdict("first", 0.9, (0.9, 0.9)) for _ in judge_pairs(self, texts, names)]

    judge.judge = judged


if __name__ == "__main__":
    main()
