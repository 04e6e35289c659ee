"""A TCP proxy that knows HTTP/2 frames: it cuts at the frame it is told, or freezes with its connections open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

PREFACE = 24
FRAME_HEADER = 9
DATA, HEADERS = 0, 1


@dataclass(frozen=True)
class Cut:
    """Where to cut: at the n-th frame of calls and messages in that direction, before or after it went through."""

    direction: str
    number: int
    forwarded: bool

    def __str__(self) -> str:
        return f"{self.direction}-{self.number}-{'after' if self.forwarded else 'before'}"


class Proxy:
    """Forwards to `target`. Frames are counted over all connections: those of calls (headers) and messages (data)."""

    def __init__(self, target: str, cut: Cut | None = None) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._frozen: set[asyncio.StreamWriter] = set()
        self._door_frozen = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = cut
        self.frames = {"up": 0, "down": 0}
        self.connections = 0
        self.has_cut = asyncio.Event()
        self.address = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Resets all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self, *, door: bool = False) -> None:
        """Forwards nothing more on the connections there are, and leaves them open; new ones work unless the door freezes too."""
        self._frozen |= self._writers
        self._door_frozen = door

    def thaw(self) -> None:
        """Goes on."""
        self._frozen.clear()
        self._door_frozen = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(self._host, int(self._port))
            mine = {writer, back}
            self._writers |= mine
            if self._door_frozen:
                self._frozen |= mine
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await asyncio.gather(self._pipe("up", reader, back), self._pipe("down", there, writer))
            self._writers -= mine
            for one in mine:
                one.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pipe(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if direction == "up":
            writer.write(await reader.readexactly(PREFACE))
        while True:
            header = await reader.readexactly(FRAME_HEADER)
            body = await reader.readexactly(int.from_bytes(header[:3], "big"))
            while writer in self._frozen:
                await asyncio.sleep(0.05)
            if header[3] in (DATA, HEADERS):
                self.frames[direction] += 1
                if self._is_here(direction):
                    cut, self.cut = self.cut, None
                    assert cut is not None
                    if cut.forwarded:
                        writer.write(header + body)
                        await writer.drain()
                        await asyncio.sleep(0.01)  # so that the other side has read it before the reset
                    self.drop()
                    self.has_cut.set()
                    return
            writer.write(header + body)
            await writer.drain()

    def _is_here(self, direction: str) -> bool:
        return self.cut is not None and self.cut.direction == direction and self.cut.number == self.frames[direction]


async def cut_everywhere(
    run: Callable[[Cut | None], object], frames: dict[str, int], *, at_once: int = 6
) -> list[tuple[Cut, BaseException]]:
    """Runs once for each frame and side of it, some at once; gives what went wrong."""
    places = [
        Cut(direction, number, forwarded)
        for direction, count in frames.items()
        for number in range(1, count + 1)
        for forwarded in (False, True)
    ]
    gate = asyncio.Semaphore(at_once)

    async def one(cut: Cut) -> None:
        async with gate:
            await run(cut)  # type: ignore[misc]

    results = await asyncio.gather(*(one(cut) for cut in places), return_exceptions=True)
    return [(cut, result) for cut, result in zip(places, results, strict=True) if isinstance(result, BaseException)]
