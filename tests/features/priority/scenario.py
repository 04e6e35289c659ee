"""Higher priority first; within a priority, first come, first served: see README.md."""

from __future__ import annotations

from stage import expect, play, working

from haulier import Client, JobOptions, PriorityName, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue], slots=1)
    ran: list[str] = []

    @worker.command
    async def note(label: str) -> str:
        ran.append(label)
        return label

    plans = [
        ("low", JobOptions(queue=queue, priority_name=PriorityName.LOW)),
        ("normal 1", JobOptions(queue=queue, priority_name=PriorityName.NORMAL)),
        ("high", JobOptions(queue=queue, priority_name=PriorityName.HIGH)),
        ("normal 2", JobOptions(queue=queue)),
        ("top", JobOptions(queue=queue, priority=30)),
        ("above", JobOptions(queue=queue, priority_name=PriorityName.ABOVE_NORMAL)),
        ("below", JobOptions(queue=queue, priority_name=PriorityName.BELOW_NORMAL)),
    ]
    jobs = {label: await client.enqueue(note, {"label": label}, options) for label, options in plans}
    async with working(worker):
        for job in jobs.values():
            await client.wait(job)
    order = ["top", "high", "above", "normal 1", "normal 2", "below", "low"]
    expect("the order", ran, order)
    priorities = [(await client.get(jobs[label])).summary.priority for label in order]
    expect("the priorities", priorities, [30, 25, 20, 15, 15, 10, 5])


play(story)
