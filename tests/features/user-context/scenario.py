"""A job runs on behalf of a user, and so does what it enqueues: see README.md."""

from __future__ import annotations

import secrets
from typing import Any

from stage import expect, jobs_of, play, working

from haulier import Client, Job, JobFilter, JobOptions, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def outer(job: Job) -> dict[str, Any]:
        first = await job.enqueue("inner", options=JobOptions(queue=queue))
        second = await job.enqueue("inner", options=JobOptions(queue=queue, user_id="bob"))
        return {"user": job.user_id, "claims": dict(job.user_claims), "children": [first.id, second.id]}

    @worker.command
    async def inner(job: Job) -> dict[str, Any]:
        return {
            "user": job.user_id,
            "claims": dict(job.user_claims),
            "parent": job.parents[0].job_id,
            "trace": job.options.traceparent,
        }

    async with working(worker):
        trace = secrets.token_hex(16)
        options = JobOptions(
            queue=queue,
            user_id="ann",
            user_claims={"role": "admin"},
            traceparent=f"00-{trace}-{secrets.token_hex(8)}-01",
        )
        job = await client.enqueue(outer, options=options)
        result = await client.wait(job)
        expect("the user of the outer", (result["user"], result["claims"]), ("ann", {"role": "admin"}))
        first, second = result["children"]
        for child, user, claims in ((first, "ann", {"role": "admin"}), (second, "bob", {})):
            seen = await client.wait(child)
            expect("a child", (seen["user"], seen["claims"], seen["parent"]), (user, claims, job.id))
            expect("its trace id", (seen["trace"] or "")[3:35], trace)
        listed = await jobs_of(client, JobFilter(user_id="ann", queue=queue))
        expect("the jobs of ann", {one.id for one in listed}, {job.id, first})


play(story)
