from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_server import FakeServer
from server import RealServer


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    """A server in this process."""
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def real() -> Iterator[RealServer]:
    """The real server, one for all tests: each uses queues of its own."""
    server = RealServer()
    server.start()
    yield server
    server.stop()
    server.remove()
