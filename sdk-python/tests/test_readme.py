"""The examples of the README, run against the real server."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from running import running
from server import RealServer

from haulier import Client, Worker

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"<!-- (file|prelude|example|sync)(?:: ([\w.]+))? -->\n```python\n(.*?)```", README, re.DOTALL)
EXAMPLES = {name: text for kind, name, text in BLOCKS if kind == "example"}


def test_every_python_block_of_the_readme_is_run() -> None:
    assert README.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_of_the_readme_runs(real: RealServer, name: str) -> None:
    prelude = next(text for kind, _, text in BLOCKS if kind == "prelude")
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(prelude, "README: prelude", "exec", dont_inherit=True), names)
    async with Client(real.address) as client:
        worker = Worker(real.address)
        names.update(client=client, worker=worker)
        # Handlers come first, so that the worker knows them when it registers; then the rest runs.
        code = EXAMPLES[name]
        source = "async def example(start):\n" + textwrap.indent(started(code), "    ")
        exec(compile(source, f"README: {name}", "exec", dont_inherit=True), names)

        blocks = contextlib.AsyncExitStack()

        async def start() -> None:
            if "@worker." in code:
                await blocks.enter_async_context(running(worker))

        try:
            await asyncio.wait_for(names["example"](start), 15)
        finally:
            await blocks.aclose()


def started(code: str) -> str:
    """The example with the worker started after its last handler."""
    module = (
        ast.parse(code, mode="exec", type_comments=False)
        if "await" not in code
        else ast.parse("async def body():\n" + textwrap.indent(code, "    ")).body[0]
    )
    lines = code.splitlines()
    last = 0
    for node in module.body:  # type: ignore[union-attr]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            last = node.end_lineno - (1 if "await" in code else 0)  # type: ignore[operator]
    return "\n".join([*lines[:last], "await start()", *lines[last:]])


def test_the_three_tiny_files_work(real: RealServer, tmp_path: Path) -> None:
    for kind, name, text in BLOCKS:
        if kind == "file":
            (tmp_path / name).write_text(text)
    sync = next(text for kind, _, text in BLOCKS if kind == "sync")
    (tmp_path / "sync_client.py").write_text(sync)
    environment = {**os.environ, "HAULIER_ADDRESS": real.address}
    worker = subprocess.Popen([sys.executable, "work.py"], cwd=tmp_path, env=environment)
    try:
        for script in ("enqueue.py", "sync_client.py"):
            done = subprocess.run(
                [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
            )
            assert done.stdout.splitlines()[-1] == "cat.png@200", done.stderr
        worker.terminate()
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.wait()
