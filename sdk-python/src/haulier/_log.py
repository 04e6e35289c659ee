"""Logs: from the standard library's logging to the job that runs."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ._records import LogLevel

if TYPE_CHECKING:
    from ._job import Job, JobPort

__all__ = ["JobLogHandler", "current_job"]

_current: ContextVar[JobPort | None] = ContextVar("haulier_job", default=None)
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "haulier_job", "haulier_taken"}


def current_job() -> Job | None:
    """The job whose handler runs here; None outside of handlers."""
    port = _current.get()
    return None if port is None else port.job


class JobLogHandler(logging.Handler):
    """Stores log records with the job whose handler they come from. Records from elsewhere are passed over.

    The job's own `logger` has it already. Add it to a logger of yours, or to the root logger, to store its records too;
    `extra` becomes the line's fields.

    Example:
        >>> logging.getLogger("shop").addHandler(JobLogHandler())
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Stores a record."""
        job: Job | None = getattr(record, "haulier_job", None) or current_job()
        if job is None or record.name == "haulier" or record.name.startswith("grpc"):
            return
        if vars(record).get("haulier_taken"):
            return
        record.haulier_taken = True
        try:
            fields = {name: value for name, value in vars(record).items() if name not in _OWN}
            job.log(self.format(record), level=_level(record.levelno), fields=fields)
        except Exception:
            self.handleError(record)


class JobLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # not generic at run time before 3.11
    """The logger of one job."""

    def __init__(self, job: Job) -> None:
        super().__init__(logging.getLogger("haulier.job"), {})  # pyright: ignore[reportUnknownMemberType]
        self._job = job

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Marks the record as the job's."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "haulier_job": self._job}
        return msg, kwargs


def _level(number: int) -> LogLevel:
    if number >= logging.ERROR:
        return LogLevel.ERROR
    if number >= logging.WARNING:
        return LogLevel.WARN
    if number >= logging.INFO:
        return LogLevel.INFO
    return LogLevel.DEBUG if number >= logging.DEBUG else LogLevel.TRACE


def _prepare() -> None:
    logger = logging.getLogger("haulier.job")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, JobLogHandler) for handler in logger.handlers):
        logger.addHandler(JobLogHandler())


_prepare()
