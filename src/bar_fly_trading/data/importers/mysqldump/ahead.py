"""Work done one step ahead in a thread: reading bytes beside parsing them, judging one group beside storing another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_CHECK_S = 0.05


def ahead(items: Iterable[_T], count: int = 1) -> Generator[_T, None, None]:
    """Yield the items in order, up to `count` of them made ahead in a thread; what making one raises is raised here.

    To be closed (`contextlib.closing`) before what the items are made of is: the thread has ended then.
    """
    made: queue.Queue[tuple[_T | None, BaseException | None, bool]] = queue.Queue(maxsize=count)
    stop = threading.Event()

    def put(item: _T | None, error: BaseException | None, ended: bool) -> None:
        while not stop.is_set():
            try:
                made.put((item, error, ended), timeout=_CHECK_S)
            except queue.Full:
                continue
            return

    def make() -> None:
        failure: BaseException | None = None
        try:
            for item in items:
                put(item, None, False)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  handed to the caller, whose it is
            failure = error
        put(None, failure, True)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error, ended = made.get()
            if error is not None:
                raise error
            if ended:
                return
            yield item  # type: ignore[misc]
            del item
    finally:
        stop.set()
        thread.join()
