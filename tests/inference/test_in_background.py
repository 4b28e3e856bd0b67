import threading

import pytest

from pix2rep_jax.inference.in_background import map_in_background


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_results_keep_their_order_and_few_wait(most, at_once):
    """However slow the caller is, no more than `most` items are drawn ahead of it."""
    drawn, threads = [], set()

    def items():
        for item in range(20):
            drawn.append(item)
            yield item

    def square(item):
        threads.add(threading.current_thread())
        return item**2

    results = []
    for result in map_in_background(square, items(), most=most, at_once=at_once):
        results.append(result)
        assert len(drawn) - len(results) < most
    assert results == [item**2 for item in range(20)]
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_the_thread_does_not_run_out_of_work():
    """While the caller uses one result, the next ones are computed."""
    last = threading.Event()
    results = map_in_background(
        lambda item: last.set() if item == 2 else item, range(9), most=3
    )
    assert next(results) == 0
    assert last.wait(10)
    results.close()


def test_a_result_is_given_as_soon_as_it_is_there():
    """It need not wait until as many calls are under way as there may be."""
    computed = threading.Event()

    def items():
        yield 0
        assert computed.wait(10)
        yield 1
        raise AssertionError("the first result was there")

    def compute(item):
        if item == 0:
            computed.set()
        return item

    results = map_in_background(compute, items(), most=9, at_once=True)
    assert next(results) == 0
    results.close()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["function", "items", "caller"])
def test_what_is_raised_stops_the_thread(error, place):
    """The caller gets it; calls that have not begun never do."""
    called = []

    def compute(item):
        called.append(item)
        if (place, item) == ("function", 3):
            raise error
        return item

    def items():
        yield from range(6)
        if place == "items":
            raise error
        yield from range(6, 100)

    results = map_in_background(compute, items(), most=3)
    with pytest.raises(error):
        for result in results:
            if (place, result) == ("caller", 3):
                raise error
    results.close()
    assert max(called) < 9
    assert not [each for each in threading.enumerate() if "Pool" in each.name]
