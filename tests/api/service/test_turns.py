"""A crowd of requests is let through a few at a time, in order, and none is forgotten."""

import asyncio

from fairlead.api.service.decisions import Turns


def test_a_crowd_goes_through_a_few_in_each_turn_of_the_loop() -> None:
    async def crowd() -> list[tuple[int, int]]:
        turns, turn, passed = Turns(3), 0, []

        async def pass_through(number: int) -> None:
            await turns.wait()
            passed.append((number, turn))

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await asyncio.gather(*map(pass_through, range(20)))
        counting.cancel()
        return passed

    passed = asyncio.run(crowd())
    assert [number for number, _ in passed] == list(range(20))
    in_turn = [sum(turn == at for _, turn in passed) for at in {turn for _, turn in passed}]
    assert max(in_turn) <= 3


def test_a_task_that_gives_up_takes_no_other_tasks_turn() -> None:
    async def crowd() -> list[int]:
        turns, passed = Turns(1), []

        async def pass_through(number: int) -> None:
            await turns.wait()
            passed.append(number)

        tasks = [asyncio.ensure_future(pass_through(i)) for i in range(6)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return passed

    assert asyncio.run(crowd()) == [0, 1, 3, 4, 5]
