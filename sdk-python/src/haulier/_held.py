"""A lease that is held, and what is not yet stored of it."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
from collections.abc import Sequence

from .v1 import lease_pb2, payload_pb2, report_pb2
from .v1 import worker_service_pb2 as pb


class Line:
    """A log line on its way."""

    __slots__ = ("entry", "logged", "room", "size")

    def __init__(self, entry: report_pb2.LogEntry, room: int, logged: float) -> None:
        self.entry = entry
        self.room = room
        """What it takes of the attempt's buffer."""
        self.logged = logged
        self.size = entry.ByteSize() + 16


_NO_LINES: collections.deque[Line] = collections.deque[Line](maxlen=0)
"""Of all leases that have logged nothing."""

COMPLETED = report_pb2.OutcomeReport()
"""The outcome of all that end well and give nothing back. As every outcome it gets its lease when it is sent."""
COMPLETED.complete.result.SetInParent()

_COMPLETED_TEXT = COMPLETED.SerializeToString().decode("ascii")


def completed_bytes(leases: Sequence[str]) -> bytes:
    """A serialised message on ReportJobs with `COMPLETED` for each of these leases.

    Most outcomes are this one, and to write it so is a third of the work that a message for each would be: the tag of an
    outcome, its length, the tag of the lease, its length, the lease, and the rest, which is always the same.
    """
    rest = _COMPLETED_TEXT
    more = len(rest) + 2
    text = "".join([f"\x3a{chr(len(lease) + more)}\x0a{chr(len(lease))}{lease}{rest}" for lease in leases])
    if text.isascii():  # and so no length has more than the seven bits of one byte
        return text.encode()
    message = pb.ReportJobsRequest()
    for lease in leases:
        message.outcomes.add(lease=lease, complete=COMPLETED.complete)
    return message.SerializeToString()


class Held:
    """A lease, and what is not yet stored of it. All of it is touched in the worker's event loop alone."""

    leased: lease_pb2.LeasedJob
    lease: str
    # Most jobs say nothing but their outcome: these are the lease's own once it says more.
    told = False
    """Whether it has told lines, checkpoints or progress."""
    lines = _NO_LINES
    stored = 0
    """Sequence of the last line that is stored."""
    sent = 0
    """Sequence of the last line that was sent."""
    checkpoint_payload: payload_pb2.Payload | None = None
    checkpoint_sequence = 0
    checkpoint_stored = 0
    checkpoint_sent = False
    checkpoint_future: tuple[tuple[int, concurrent.futures.Future[None]], ...] = ()
    fraction: float | None = None
    status: str | None = None
    progress_sent = 0.0
    progress_timer: asyncio.TimerHandle | None = None
    outcome: report_pb2.OutcomeReport | None = None
    lost = False
    """Its session is over: only an outcome that is ready may still be told."""

    @property
    def last(self) -> int:
        """Sequence of the last line."""
        return self.stored + len(self.lines)

    @property
    def outcome_size(self) -> int:
        """Most bytes that the outcome takes of a message."""
        return len(self.lease) + 32 + (0 if self.outcome is None else self.outcome.ByteSize())

    def begin_to_tell(self) -> None:
        """It has something to tell beside its outcome: from where the lease's sequences stand."""
        if not self.told:
            self.told = True
            self.lines = collections.deque[Line]()
            self.stored = self.sent = self.leased.log_sequence
            self.checkpoint_sequence = self.checkpoint_stored = self.leased.checkpoint_sequence
