"""A worker process is killed, and a worker of another language goes on with its job: see README.md."""

from __future__ import annotations

import signal
from datetime import timedelta

from stage import LANGUAGE, WorkerProgram, attempts_of, expect, expect_that, languages, play

from haulier import AttemptOutcome, Client, JobOptions


async def story(client: Client, queue: str) -> None:
    for other in [one for one in languages() if one != LANGUAGE] or [LANGUAGE]:
        own = f"{queue}-{other}"
        async with WorkerProgram(LANGUAGE, own) as first:
            job = await client.enqueue("scenario.hold", options=JobOptions(queue=own))
            async for event in client.watch(job):
                if event.kind == "logs" and any(line.message == "holding" for line in event.lines):
                    break
            async with WorkerProgram(other, own):
                first.send(signal.SIGKILL)
                result = await client.wait(job, timeout=timedelta(seconds=25))
        expect("who ended it", result["language"], other)
        expect("the checkpoint", result["checkpoint"], {"by": LANGUAGE})
        expect("the crashes", result.get("crashes", 1), 1)
        attempts = await attempts_of(client, job.id)
        expect(
            "the first and the last attempt",
            (attempts[0].outcome, attempts[-1].outcome),
            (AttemptOutcome.CRASHED, AttemptOutcome.COMPLETED),
        )
        expect_that(attempts[-1].epoch > attempts[0].epoch, f"expected a larger epoch, saw {[one.epoch for one in attempts]}")


play(story)
