"""A crowd that arrives at once is let through a few at a time, in its order, and nobody is forgotten."""

import asyncio

from fairlead.api.service.turns import Turns


def test_a_crowd_goes_through_a_few_in_each_turn_of_the_loop() -> None:
    async def crowd() -> list[tuple[int, int]]:
        turns, turn, found = Turns(3), 0, []

        async def one(number: int) -> None:
            await turns.take()
            found.append((number, turn))

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await asyncio.gather(*map(one, range(20)))
        counting.cancel()
        return found

    found = asyncio.run(crowd())
    assert [number for number, _ in found] == list(range(20))
    in_turn = [sum(turn == at for _, turn in found) for at in {turn for _, turn in found}]
    assert max(in_turn) <= 3


def test_who_gives_up_takes_nobody_elses_turn() -> None:
    async def crowd() -> list[int]:
        turns, found = Turns(1), []

        async def one(number: int) -> None:
            await turns.take()
            found.append(number)

        tasks = [asyncio.ensure_future(one(i)) for i in range(6)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    assert asyncio.run(crowd()) == [0, 1, 3, 4, 5]
