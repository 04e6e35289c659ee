"""A job enqueued in this language is run by a worker of each language: see README.md."""

from __future__ import annotations

import signal
from typing import Any

from stage import WorkerProgram, expect, expect_error, expect_that, languages, play

from haulier import Client, JobFailedError, JobOptions

VALUES: list[Any] = [
    {
        "text": "gr\u00fc\u00dfe, \u4e16\u754c \u0000",
        "n": 9007199254740991,
        "x": 1.5,
        "deep": [{"a": None}, [], {}],
        "yes": True,
    },
    7,
    "plain",
    False,
    None,
]


async def story(client: Client, queue: str) -> None:
    expect_that(languages(), "expected a worker program in HAULIER_SCENARIO_WORKER_PYTHON, found none")
    for language in languages():
        options = JobOptions(queue=f"{queue}-{language}")
        async with WorkerProgram(language, f"{queue}-{language}") as program:
            jobs = [await client.enqueue("scenario.echo", value, options) for value in VALUES]
            refused = {"code": "ACROSS", "message": "not in any language"}
            failing = await client.enqueue("scenario.fail", refused, options)
            for value, job in zip(VALUES, jobs, strict=True):
                expect(f"the echo of {language}", await client.wait(job), {"language": language, "request": value})
            error = await expect_error(f"the failure of {language}", JobFailedError, client.wait(failing))
            seen = (error.error_code, error.message, len(error.attempts))
            expect(f"the failure of {language}", seen, ("ACROSS", "not in any language", 1))
            program.send(signal.SIGTERM)
            expect(f"the exit code of {language}", await program.ended(), 0)


play(story)
