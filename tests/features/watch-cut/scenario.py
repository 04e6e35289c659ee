"""A watch that is cut goes on where it was: nothing is missed, nothing comes twice; see README.md."""

from __future__ import annotations

import asyncio

from stage import expect, expect_that, play, working

from haulier import Client, Job, JobOptions, JobState, Worker


class Proxy:
    """A TCP proxy that drops its connections on command."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.address = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._open |= {writer, back}
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer), return_exceptions=True)
        self._open -= {writer, back}
        for one in (writer, back):
            one.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def talk(job: Job) -> dict[str, int]:
        for n in range(1, 51):
            await job.log(f"line {n}")
            await asyncio.sleep(0.04)
        return {"lines": 50}

    async with working(worker), Proxy(client.address) as proxy, Client(proxy.address) as watcher:
        job = await client.enqueue(talk, options=JobOptions(queue=queue))
        seen: list[str] = []
        cuts = [10, 25]
        last = None
        async for last in watcher.watch(job):
            expect_that(last.kind != "gap", f"expected no gap, saw {last}")
            if last.kind == "logs":
                seen += [line.message for line in last.lines]
                while cuts and len(seen) >= cuts[0]:
                    del cuts[0]
                    proxy.cut()
        expect("the lines", seen, [f"line {n}" for n in range(1, 51)])
        expect(
            "the last event",
            last and last.kind == "snapshot" and (last.job.state, last.job.result),
            (JobState.COMPLETED, {"lines": 50}),
        )
        expect_that(proxy.connections >= 3, f"expected at least 3 connections, saw {proxy.connections}")


play(story)
