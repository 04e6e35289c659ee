"""A private server of the real binary, and free ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("HAULIER_BIN") or ROOT / "target" / "debug" / "haulier")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def quick_folder() -> str | None:
    """Memory where the machine offers it: a disk that a build keeps busy must not decide tests of time that are not about it."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30 else None


CONFIG = """
[outbound]
allow = ["127.0.0.1/32"]
allow_http = true

[secrets.SHOP_TOKEN]
value = "not really secret"
hosts = ["shop.example.com"]

[targets.shop]
url = "http://127.0.0.1:1"
protocol = "grpc"
allowed = ["shop.v1.OrderService/*"]

[targets.shop-web]
url = "http://127.0.0.1:1"
protocol = "http"
allowed = ["POST /receipts"]
"""
"""What the examples of the README speak of; nobody listens there."""


class RealServer:
    """One server process in a temporary folder; stopped and removed by its own id."""

    def __init__(self) -> None:
        if not BINARY.exists():
            raise RuntimeError(f"{BINARY} does not exist: build it with `cargo build -p haulier-server`, or set HAULIER_BIN")
        self.folder = Path(tempfile.mkdtemp(prefix="haulier-python-", dir=quick_folder()))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # A copy: the build may replace the binary while tests run.
        self.binary = self.folder / "haulier"
        shutil.copy2(BINARY, self.binary)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        database = f"sqlite:{self.folder / 'queue.db'}"
        config = self.folder / "haulier.toml"
        config.write_text(CONFIG)
        command = [str(self.binary), "serve", "--listen", self.address, "--database-url", database, "--config", str(config)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HAULIER_")}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=1):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f"the server did not become ready:\n{self.log()}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""
