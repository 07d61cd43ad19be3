"""One timer for many requests: who is late is stopped, and nobody else."""

import asyncio

import pytest

from fairlead.api.http.deadlines import Deadlines


def test_only_what_takes_too_long_is_stopped() -> None:
    async def work(deadlines: Deadlines, seconds: float) -> str:
        try:
            with deadlines.limited():
                await asyncio.sleep(seconds)
        except TimeoutError:
            # The task goes on: an answer can be written, and what is awaited next is not stopped too.
            await asyncio.sleep(0.01)
            return "late"
        return "done"

    async def all_of_them() -> list[str]:
        deadlines = Deadlines(0.2)
        first = [asyncio.create_task(work(deadlines, seconds)) for seconds in (0.0, 5.0, 0.1, 5.0)]
        await asyncio.sleep(0.12)
        # Due later than those: the timer goes on for them.
        second = [asyncio.create_task(work(deadlines, seconds)) for seconds in (0.15, 5.0)]
        return await asyncio.gather(*first, *second)

    started = asyncio.run(asyncio.wait_for(all_of_them(), 3.0))
    assert started == ["done", "late", "done", "late", "done", "late"]


def test_the_limit_is_kept_for_each_of_many_that_come_one_after_another() -> None:
    async def one_after_another() -> list[float]:
        deadlines, took, loop = Deadlines(0.1), [], asyncio.get_running_loop()
        for _ in range(3):
            with deadlines.limited():
                await asyncio.sleep(0.02)
            began = loop.time()
            with pytest.raises(TimeoutError), deadlines.limited():
                await asyncio.sleep(5.0)
            took.append(loop.time() - began)
        return took

    for seconds in asyncio.run(one_after_another()):
        assert 0.09 < seconds < 1.0


def test_a_task_that_somebody_else_stops_is_stopped() -> None:
    async def stopped() -> bool:
        deadlines = Deadlines(5.0)

        async def work() -> None:
            with deadlines.limited():
                await asyncio.sleep(5.0)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(stopped())
