"""Run by `run-tests` in a clean environment that has nothing but the wheel."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from importlib.resources import files

import haulier
import haulier.sync
from haulier.testing import run_handler_sync


def double(job: haulier.Job, n: int) -> int:
    return n * 2


assert version("haulier") == haulier.__version__
assert files("haulier").joinpath("py.typed").is_file()
assert run_handler_sync(double, {"n": 4}).result == 8
with haulier.sync.Client("127.0.0.1:1", timeout=timedelta(seconds=0.2)) as client:
    try:
        client.enqueue("x")
    except haulier.UnavailableError as error:
        assert "is the server running" in str(error)
        print("the wheel works:", haulier.__version__)
