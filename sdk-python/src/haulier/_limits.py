"""Every limit and default of the SDK, in one place. The server has its own; where both know one, the numbers agree."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

ADDRESS_DEFAULT: Final = "127.0.0.1:4285"

# Messages.
MESSAGE_IN_BYTES_MAX: Final = 16 << 20
MESSAGE_OUT_BYTES_MAX: Final = 16 << 20
PAYLOAD_BYTES_MAX: Final = 3 << 20
"""The most any server may allow; 1 MiB unless it was configured otherwise."""

# Calls.
CALL_TIMEOUT: Final = timedelta(seconds=30)
"""One call with all its retries."""
RETRY_DELAY_FIRST: Final = 0.05
RETRY_DELAY_MAX: Final = 2.0
RECONNECT_DELAY_MAX: Final = 2.0
KEEPALIVE_TIME_MS: Final = 10_000
KEEPALIVE_TIMEOUT_MS: Final = 5_000
CLOSE_LINGER: Final = 0.02
"""Seconds that a closed channel has to hear of the end of its calls."""
PAGE_SIZE: Final = 200
WATCH_RESUME_DELAY_MAX: Final = 2.0

# Worker processes.
SLOTS_DEFAULT: Final = 10
SLOTS_MAX: Final = 10_000
CLAIM_JOBS_MAX: Final = 1_000
CLAIM_LINGER: Final = 0.001
"""Seconds between the first free slot of a full worker process and its next claim."""
HANDLERS_TURN: Final = 0.005
"""Seconds that handlers which never wait may run one after the other before the event loop has its turn."""
CLAIM_ANSWER_GRACE: Final = 5.0
"""Seconds after the longest wait in which the answer to a claim must have come."""
RECEIVED_WAIT: Final = 1.0
"""Seconds that a handler waits for its `received` to be sent; the next claim says the same."""
TIMEOUT_WATCH_AFTER: Final = 0.05
"""Seconds after which the timeout of a handler that still runs is looked at."""
LEASES_MAX: Final = 10_000
"""Leases that one heartbeat can list."""
COMPLAIN_AFTER: Final = 3
"""Failures in a row before a warning is logged; then one every `COMPLAIN_INTERVAL` seconds."""
COMPLAIN_INTERVAL: Final = 30.0
OUTCOMES_UNACKNOWLEDGED_MAX: Final = 1_000
FENCE_AT: Final = 0.8
"""Part of the lease time without an acknowledged heartbeat after which strict jobs stop themselves."""
TIMEOUT_GRACE: Final = timedelta(seconds=10)
DRAIN_TIMEOUT: Final = timedelta(seconds=30)
STOP_GRACE: Final = timedelta(seconds=10)
"""What a handler has to end by itself after a stop signal that brings no grace of its own."""
DRAIN_STOP_GRACE: Final = 5.0
FLUSH_TIMEOUT: Final = 5.0
"""Seconds to bring out the last outcomes before a session ends."""

# The report stream.
REPORT_BYTES_MAX: Final = 3_500_000
"""One message; the server reads 4 MiB."""
OUTCOME_BYTES_MAX: Final = 3_400_000
LEASE_BYTES_MAX: Final = 128
LOG_LINES_PER_REPORT_MAX: Final = 1_000
LOG_BYTES_PER_REPORT_MAX: Final = 1 << 20
LOG_LINE_BYTES_MAX: Final = 16 << 10
LOG_FIELDS_MAX: Final = 64
LOG_BUFFER_BYTES_MAX: Final = 4 << 20
"""Log lines of one attempt that wait for the server; beyond it lines are dropped, and one line says how many. Who awaits
`Job.log` waits from half of it on, and loses none."""
REPORT_ITEMS_MAX: Final = 1_000
STREAM_SILENCE_MIN: Final = 1.0
"""Seconds without an answer to a heartbeat before the stream is given up, at least; else a heartbeat interval."""
PROGRESS_INTERVAL: Final = 0.2
LOOP_BLOCKED_AFTER: Final = 1.5
"""Heartbeat intervals without a sign of life of the event loop, after which another thread beats in its place."""
REPORT_RETRY_DELAY: Final = 0.5
LOG_CREDIT_DEFAULT: Final = 1 << 20

# Texts.
STATUS_BYTES_MAX: Final = 4 << 10
ERROR_CODE_CHARS_MAX: Final = 255
ERROR_MESSAGE_BYTES_MAX: Final = 4 << 10
ERROR_STACK_BYTES_MAX: Final = 32 << 10
REASON_BYTES_MAX: Final = 4 << 10

# Locks and periodic workers.
LOCK_LEASE: Final = timedelta(seconds=30)
LOCK_WAIT_MAX: Final = timedelta(seconds=30)
LOCK_LAST_WORDS: Final = 2.0
"""Seconds that a client that is closed takes to give back what a lock's cancelled call may have acquired."""
GIVE_BACK_PAUSES: Final = (0.0, 0.1, 0.5)
"""Seconds before each try to give it back: the server may be at that call still."""
BACKGROUND_DELAY_FIRST: Final = 1.0
BACKGROUND_DELAY_MAX: Final = 60.0


def clip(text: str, bytes_max: int) -> str:
    """The text, cut so that it has at most so many bytes of UTF-8."""
    if len(text) * 4 <= bytes_max:
        return text
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return text
    return raw[: bytes_max - 3].decode("utf-8", "ignore") + "…"
