"""The outcome is told to a URL: see README.md."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from stage import expect, expect_error, expect_that, play, working

from haulier import (
    Client,
    DeliveryState,
    EnqueuedJob,
    InvalidArgumentError,
    Job,
    JobOptions,
    JobResult,
    JobState,
    NonRetryable,
    ReplyBody,
    ReplyMode,
    WatchUntil,
    Worker,
)


@dataclass
class Told:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Listener:
    """An HTTP server that keeps each request."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Listener:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def at(self, path: str) -> list[Told]:
        return [one for one in self.told if one.path.startswith(path)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status = "500 Stubborn" if path == "/stubborn" and not self.at(path) else "204 No Content"
        self.told.append(Told(method, path, headers, json.loads(body) if body else None))
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def make() -> dict[str, int]:
        return {"made": 1}

    @worker.command
    async def doomed() -> None:
        raise NonRetryable("doomed", code="DOOMED")

    @worker.command
    async def carry(job: Job) -> str | None:
        return job.options.reply_to

    async def to_the_end(job: EnqueuedJob) -> JobResult:
        async for _ in client.watch(job, until=WatchUntil.NOTIFIED):
            pass
        return await client.get(job)

    async with working(worker), Listener() as listener:
        to = f"PUT http.X-Key:open%20sesame@{listener.url}/done?job=1"
        job = await client.enqueue(make, options=JobOptions(queue=queue, reply_to=to))
        ended = await to_the_end(job)
        expect(
            "how the first was told",
            [(one.method, one.path, one.body) for one in listener.told],
            [("PUT", "/done?job=1", {"made": 1})],
        )
        headers = listener.told[0].headers
        expect("its header", headers.get("x-key"), "open sesame")
        expect_that("webhook-id" in headers and "webhook-timestamp" in headers, f"expected webhook headers, saw {headers}")
        values = {value.lower() for value in headers.values()}
        for what in (str(job.id), job.ref_id.lower(), ended.state.value):
            expect_that(any(what in value for value in values), f"expected {what} among the headers, saw {headers}")
        expect("its state", ended.state, JobState.COMPLETED)
        expect_that(ended.summary.notify_time, "expected a notify time, saw none")

        options = JobOptions(queue=queue, reply_to=f"token@{listener.url}/failed", reply_body=ReplyBody.ENVELOPE)
        job = await client.enqueue(doomed, options=options)
        await to_the_end(job)
        told = listener.at("/failed")
        expect(
            "how the failure was told",
            [(one.method, one.headers.get("authorization")) for one in told],
            [("POST", "Bearer token")],
        )
        body = told[0].body
        expect("the id in its body", str(body["id"]), str(job.id))
        expect_that(job.ref_id in json.dumps(body), f"expected the ref id in the body, saw {body}")
        expect_that("failed" in str(body["state"]).lower(), f"expected the state failed, saw {body}")
        expect("its error", body["error"]["code"], "DOOMED")

        options = JobOptions(queue=queue, reply_to=f"{listener.url}/carried", reply_mode=ReplyMode.CARRY)
        job = await client.enqueue(carry, options=options)
        expect("what was carried", await client.wait(job), f"{listener.url}/carried")

        job = await client.enqueue(make, options=JobOptions(queue=queue, reply_to=f"{listener.url}/stubborn"))
        await to_the_end(job)
        tries = listener.at("/stubborn")
        expect("the tries, which have one id", (len(tries), len({one.headers.get("webhook-id") for one in tries})), (2, 1))
        deliveries = [one async for one in client.list_deliveries(job.id)]
        expect("the delivery", [(one.state, one.attempt_count) for one in deliveries], [(DeliveryState.DELIVERED, 2)])
        expect("the status of its first try", deliveries[0].attempts[0].http_status, 500)
        expect("what was told of the carried", listener.at("/carried"), [])

        bad = client.enqueue(make, options=JobOptions(queue=queue, reply_to="ftp://127.0.0.1/x"))
        error = await expect_error("a reply to ftp", InvalidArgumentError, bad)
        expect("its field", [one.field for one in error.fields], ["options.reply_to"])


play(story)
