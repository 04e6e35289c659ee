"""An id of the caller's own makes a job unique: see README.md."""

from __future__ import annotations

import uuid

from stage import expect, expect_error, named, play

from haulier import AlreadyExistsError, Client, JobOptions, NotFoundError, RefIdPolicy


async def story(client: Client, queue: str) -> None:
    ref = named("ref")
    plain = JobOptions(queue=queue, ref_id=ref)
    same = JobOptions(queue=queue, ref_id=ref, ref_id_policy=RefIdPolicy.RETURN_EXISTING)

    job = await client.enqueue("once", {"n": 1}, plain)
    expect("created", job.created, True)
    taken = await expect_error("the same again", AlreadyExistsError, client.enqueue("once", {"n": 1}, plain))
    expect("who has it", (taken.reason, taken.job_id), ("REF_ID_TAKEN", job.id))
    again = await client.enqueue("once", {"n": 1}, same)
    expect("the existing", (again.id, again.created), (job.id, False))
    taken = await expect_error("other content", AlreadyExistsError, client.enqueue("once", {"n": 2}, same))
    expect("who has it", (taken.reason, taken.job_id), ("REF_ID_TAKEN", job.id))

    request_id = str(uuid.uuid4())
    first = await client.enqueue("once", options=JobOptions(queue=queue), request_id=request_id)
    second = await client.enqueue("once", options=JobOptions(queue=queue), request_id=request_id)
    expect("one request id", (second.id, first.created, second.created), (first.id, True, False))

    expect("the job by ref id", (await client.get(ref)).summary.id, job.id)
    missing = await expect_error("a ref id that is missing", NotFoundError, client.get(named("missing")))
    expect("its reason", missing.reason, "JOB_NOT_FOUND")
    for one in (job, first):
        await client.cancel(one)


play(story)
