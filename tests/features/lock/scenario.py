"""One holder at a time, with a fencing token, and told when it is lost: see README.md."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from stage import expect, expect_that, named, play

from haulier import Client, LockLostError


async def story(client: Client, queue: str) -> None:
    name, lease, not_at_all = named("lock"), timedelta(seconds=5), timedelta(0)

    async def held() -> list[int]:
        return [lock.fencing_token async for lock in client.list_locks(name_prefix=name)]

    async with Client() as other:
        a, b = client.lock(name, lease_time=lease), other.lock(name, lease_time=lease)
        expect("A acquires", await a.acquire(not_at_all), True)
        expect("B tries", await b.acquire(not_at_all), False)
        first = a.fencing_token
        expect("the locks held", await held(), [first])

        waiting = asyncio.create_task(b.acquire())
        await asyncio.sleep(0.3)
        expect("whether B has it while A holds it", waiting.done(), False)
        expect("A releases", await a.release(), True)
        expect("B has it", await asyncio.wait_for(waiting, 20), True)
        second = b.fencing_token
        expect_that(second > first, f"expected a token larger than {first}, saw {second}")

        await client.break_lock(name, "for the scenario")
        try:
            await asyncio.wait_for(b.lost.wait(), 10)
        except asyncio.TimeoutError:
            expect("whether B was told that it lost the lock", False, True)
        try:
            b.check()
        except LockLostError:
            pass
        else:
            expect("what B's check says", "held", "LockLostError")
        expect("A acquires again", await a.acquire(not_at_all), True)
        expect_that(a.fencing_token > second, f"expected a token larger than {second}, saw {a.fencing_token}")
        await b.release()
        expect("A releases again", await a.release(), True)
        expect("the locks held at the end", await held(), [])


play(story)
