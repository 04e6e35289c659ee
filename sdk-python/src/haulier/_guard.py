"""Heartbeats for an event loop that a handler blocks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import grpc

from . import _limits as limits
from ._methods import REPORT_JOBS
from ._transport import Connection
from .v1 import worker_service_pb2 as pb

_log = logging.getLogger("haulier")


class Guarded(Protocol):
    """A session. Called in the guard's threads, while its event loop is blocked and touches nothing."""

    def spare_beat(self) -> pb.ReportJobsRequest:
        """A heartbeat that only renews the leases: without an inventory the server judges none."""
        ...

    def heard(self, response: pb.ReportJobsResponse, sent: float) -> None:
        """What came back; `sent` is when the heartbeat was sent that it acknowledges, 0 for none."""
        ...

    def fence_blocked(self) -> float:
        """Stops strict jobs when the leases are in doubt. Seconds until that may be."""
        ...


class Guard:
    """A thread that beats in the place of an event loop which does not.

    The loop says that it is alive; when it has not for longer than a heartbeat interval and a half, this thread opens a stream
    of reports of its own, over a connection of its own, and beats on it until the loop is back. As long as the loop lives it
    costs nothing: no job and no claim goes from one thread to another for the sake of heartbeats.
    """

    def __init__(self, session: Guarded, connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._interval = 10.0
        self._alive_until = 0.0
        self._resting = True
        self._back = threading.Event()
        """The loop is alive, or nothing is to be guarded."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # In the event loop

    def alive(self, interval: float) -> None:
        """The event loop is alive, and will say so again after `interval` seconds."""
        self._interval = interval
        self._alive_until = time.monotonic() + interval * limits.LOOP_BLOCKED_AFTER
        self._resting = False
        self._back.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="haulier-heartbeats", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """There is no session to guard until the loop says again that it is alive."""
        self._resting = True
        self._back.set()

    def end(self) -> None:
        """Ends the thread."""
        self.rest()
        self._ended.set()

    # In its own threads

    @property
    def _blocked(self) -> bool:
        return not self._resting and time.monotonic() >= self._alive_until

    def _serve(self) -> None:
        while not self._ended.wait(self._until_blocked()):
            self._back.clear()
            if not self._blocked:  # asked after that, or its coming back could be missed
                continue
            _log.warning("the worker's event loop is blocked, by a handler perhaps; heartbeats are sent from another thread")
            while self._blocked:
                self._stand_in()

    def _until_blocked(self) -> float:
        if self._resting:
            return self._interval
        return min(max(0.0, self._alive_until - time.monotonic()), self._interval)

    def _stand_in(self) -> None:
        """Beats until the loop is back, or the stream breaks."""
        sent: dict[int, float] = {}
        call, close = self._connection.blocking_stream(REPORT_JOBS)
        try:
            for response in call(self._beats(sent)):
                beat = response.heartbeat.beat if response.HasField("heartbeat") else 0
                self._session.heard(response, sent.get(beat, 0.0))
        except grpc.RpcError as error:
            _log.debug("a heartbeat from another thread was not taken, trying again: %s", error)
        finally:
            close()
        self._back.wait(min(self._session.fence_blocked(), limits.RECONNECT_DELAY_MAX))

    def _beats(self, sent: dict[int, float]) -> Iterator[pb.ReportJobsRequest]:
        due = 0.0
        while self._blocked:
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval
                message = self._session.spare_beat()
                sent[message.heartbeat.beat] = time.monotonic()
                yield message
            fence = self._session.fence_blocked()
            self._back.wait(max(0.0, min(due - time.monotonic(), fence)))
