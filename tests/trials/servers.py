"""The service as a process of its own, to be killed. Only processes that were started here are ended."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.trials.wire import Connection

START_S: Final = 900.0
_LISTENS: Final = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
_COMMAND: Final = "from fairlead.api.cli.main import main; main()"


class ServerFailed(RuntimeError):
    """The service did not start; the message holds what it reported."""


class Server:
    """``fairlead serve`` on a free port of 127.0.0.1, with its settings and reports in a folder.

    It is forked from a process that has the packages imported already, so that a start takes a fraction of
    a second; with an ``environment`` of its own it is a new interpreter instead.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        command: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config, self._report = folder / "fairlead.yaml", folder / "report.txt"
        content = {"host": "127.0.0.1", "port": 0, **settings}
        self._config.write_text(yaml.safe_dump(content), encoding="utf-8")
        self._environment, self._command = environment, command or _COMMAND
        self._process: BaseProcess | subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Process id of the service."""
        assert self._process is not None and self._process.pid is not None
        return self._process.pid

    def start(self) -> Server:
        """Start the process; returns once it listens."""
        self._report.write_bytes(b"")
        if self._environment is None:
            child = _fork_server().Process(target=_serve, args=[str(self._config), str(self._report)])
            child.start()
            self._process = child
        else:
            with open(self._report, "wb") as report:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", self._command, "serve", "--config", str(self._config)],
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=report,
                    stderr=report,
                )
        end = time.monotonic() + START_S
        while (match := _LISTENS.search(self.report())) is None:
            if not self.alive() or time.monotonic() > end:
                raise ServerFailed(self.report()[-2_000:])
            time.sleep(0.005)
        self.port = int(match.group(1))
        return self

    def report(self) -> str:
        """Return what the process wrote to stdout and stderr since its start."""
        return self._report.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        """Tell whether the process still runs."""
        process = self._process
        if isinstance(process, subprocess.Popen):
            return process.poll() is None
        return process is not None and process.is_alive()

    def kill(self) -> None:
        """Kill the process as ``kill -9`` does."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self, timeout_s: float = 300.0) -> int:
        """Ask the process to end by SIGTERM; returns its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 300.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        process = self._process
        assert process is not None
        if isinstance(process, subprocess.Popen):
            return process.wait(timeout_s)
        process.join(timeout_s)
        if process.exitcode is None:
            raise TimeoutError("the service did not end in time")
        return process.exitcode

    async def until_ready(self, timeout_s: float = START_S) -> None:
        """Return once decisions come from the learned state."""
        connection = await Connection.open(self.port)
        try:
            async with asyncio.timeout(timeout_s):
                while (await connection.request("GET", "/readyz")).status != 200:
                    await asyncio.sleep(0.01)
        finally:
            connection.close()


@contextlib.contextmanager
def serving(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    command: str | None = None,
) -> Iterator[Server]:
    """Start a server that listens, and make sure that it is gone at the end."""
    server = Server(folder, settings, environment=environment, command=command)
    try:
        yield server.start()
    finally:
        if server.alive():
            server.kill()


def _fork_server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trials.preloaded"])
    return context


def _serve(config: str, report: str) -> None:
    """Become the service, in a child of the fork server."""
    from fairlead.api.cli.main import main

    file = os.open(report, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.argv = ["fairlead", "serve", "--config", config]
    main()


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
