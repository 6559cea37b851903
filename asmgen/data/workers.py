"""A map over worker processes that keeps the order and bounds what is in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from asmgen.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

_CHUNKS_PER_WORKER = 4


def available_cpus() -> int:
    return len(os.sched_getaffinity(0))


def ordered_map(
    task: Callable[[Sequence[T]], list[R]], items: Sequence[T], chunk: int, workers: int
) -> Generator[R, None, None]:
    """Yield `task(items[i:i+chunk])` item by item, in order; at most 4 chunks a worker are in flight or waiting.

    `task` and `items` must be picklable; with one worker everything runs in this process. Close the iterator (or
    exhaust it) to end the workers. Raises DataError when a worker process dies.
    """
    chunks = (items[start : start + chunk] for start in range(0, len(items), chunk))
    if workers == 1:
        for piece in chunks:
            yield from task(piece)
        return
    # forkserver: forking this process is unsafe once NumPy's BLAS has started threads.
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    pending: deque[Future[list[R]]] = deque()
    try:
        for piece in chunks:
            if len(pending) == _CHUNKS_PER_WORKER * workers:
                yield from pending.popleft().result()
            pending.append(pool.submit(task, piece))
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a worker process died (out of memory?); try again with --workers 1") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group; only the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
