"""Work in a thread of its own, beside the caller's."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_in_background"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_background(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    most: int,
    at_once: bool = False,
) -> Generator[Result]:
    """Calls a function on each item in a thread, while the caller uses the results.

    The items themselves are drawn in the caller's thread. If the caller stops early,
    what is under way is finished, and the rest is dropped.

    Args:
        function: What is called. Whatever it raises is raised here.
        items: Its arguments.
        most: How many calls may be under way, or finished and not yet fetched.
        at_once: Whether a result is given as soon as it is there. Otherwise first
            `most` calls are under way, so that the thread does not run out of work.

    Yields:
        The results in the order of the items.
    """
    under_way: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            while len(under_way) >= most or (
                at_once and under_way and under_way[0].done()
            ):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
