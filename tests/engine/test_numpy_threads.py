"""Parts of a batch, a thread each."""

import threading
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from engine.compute.numpy import threads
from engine.compute.numpy.threads import has_one_core, side_by_side, split


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=40), st.integers(1, 9))
def test_a_batch_is_cut_into_equal_parts(sizes: list[int], cores: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "cores", lambda: cores)
        parts = split(sizes)
    assert [at for part in parts for at in range(part.start, part.stop)] == list(range(len(sizes)))
    assert len(parts) == min(cores, len(sizes))
    loads = [sum(sizes[part]) for part in parts]
    assert min(loads) > 0
    assert max(loads) <= sum(sizes) / len(parts) + max(sizes)


def test_results_come_in_order_and_errors_come_through() -> None:
    assert side_by_side([partial(pow, 2, at) for at in range(5)]) == [1, 2, 4, 8, 16]
    with pytest.raises(ZeroDivisionError):
        side_by_side([partial(divmod, 1, 0), partial(divmod, 1, 1)])


def blas_threads() -> list[int]:
    """Of each BLAS that is loaded, as the thread that asks would use it: MLX's and numpy's."""
    import numpy as np  # loads its BLAS

    assert np.ones(1)
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_on_one_core_the_first_product_is_made_as_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resumed run begins with other products than the run that it goes on with."""
    monkeypatch.setattr(threads, "cores", lambda: 1)
    seen: list[bool] = []

    def look() -> None:
        seen.append(has_one_core())
        side_by_side([lambda: None])
        seen.append(has_one_core())

    fresh = threading.Thread(target=look)
    fresh.start()
    fresh.join()
    assert seen == [True, True]


@pytest.mark.skipif(not blas_threads(), reason="BLAS does not tell its threads")
def test_threads_together_use_no_more_than_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    before = blas_threads()
    assert side_by_side([blas_threads] * 2) == [[1] * len(before)] * 2
    assert blas_threads() == before


@pytest.mark.skipif(not blas_threads(), reason="BLAS does not tell its threads")
def test_two_batches_at_once_leave_the_threads_of_blas_as_they_were() -> None:
    before = blas_threads()
    batches = [
        threading.Thread(target=side_by_side, args=([partial(time.sleep, seconds)] * 2,))
        for seconds in (0.05, 0.1)
    ]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert blas_threads() == before


def test_a_task_knows_whether_it_has_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, tasks, one in ((2, 2, True), (4, 2, False), (2, 1, False), (1, 1, True)):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        assert side_by_side([has_one_core] * tasks) == [one] * tasks
