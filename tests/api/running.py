"""A real service for tests: uvicorn on 127.0.0.1, in a thread of the test, with a client that speaks HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from fairlead.api.app import create_app
from fairlead.api.http.server import bind, new_server
from fairlead.api.service.service import Service
from fairlead.api.settings import Settings
from tests.paths import HANGS_S


class Running:
    """A service that is listening."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        *,
        wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self.settings = settings
        self.service = Service(settings, clock=clock)
        app = wrap(create_app(settings, service=self.service))
        self._server = new_server(app, settings, refused=self.service.metrics.refused)
        listening = bind("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, args=[listening], daemon=True)
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=HANGS_S)
        self._until(lambda: self._server.started or not self._thread.is_alive())

    def _run(self, listening: Any) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[listening])

        asyncio.run(serve())

    def _until(self, test: Callable[[], bool], *, seconds: float = HANGS_S) -> None:
        end = time.monotonic() + seconds
        while not test():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.005)

    def until_ready(self) -> Running:
        """Return once decisions come from the learned state and everything written is folded."""
        self._until(lambda: self.service.engine.ready and self.settled())
        return self

    def settled(self) -> bool:
        """Whether the state holds the whole log."""
        engine = self.service.engine
        return engine.fold.seq >= self.service.store.last_seq() and engine.lag == 0

    def until(self, test: Callable[[], bool]) -> None:
        """Wait for something."""
        self._until(test)

    def post(self, path: str, body: Any, *, status: int | None = None, **headers: str) -> Any:
        """POST JSON; with ``status`` that is what must come back."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.client.post(path, json=body, headers=names)
        assert status is None or response.status_code == status, response.text
        return response.json()

    def get(self, path: str, *, status: int = 200, **headers: str) -> Any:
        """GET JSON."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.client.get(path, headers=names)
        assert response.status_code == status, response.text
        return response.json()

    def decide(self, **fields: Any) -> Any:
        """Return a decision on the route that a new log has."""
        body = {"route": "quickstart", "prompt": "Where is my parcel?", **fields}
        return self.post("/v1/decisions", body, status=200)

    def make_key(self, admin: str | None, **fields: Any) -> tuple[str, str]:
        """Create a key, by another one if there is any; return its id and the key."""
        headers = {} if admin is None else bearer(admin)
        created = self.post("/v1/keys", {"name": "test", **fields}, status=201, **headers)
        return created["id"], created["key"]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the event loop of the service; return its result."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HANGS_S)

    def stop(self) -> None:
        """End as SIGTERM does."""
        self.client.close()
        self._server.should_exit = True
        self._thread.join(timeout=HANGS_S)
        assert not self._thread.is_alive()


class Clock:
    """A clock that a test can turn."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def bearer(token: str) -> dict[str, str]:
    """Return the header that a key is sent in."""
    return {"Authorization": f"Bearer {token}"}


def settings_for(folder: Path, url: str | None = None, **options: Any) -> Settings:
    """Return settings of a service whose files are in a folder."""
    database_url = url or f"sqlite:///{folder}/log.db"
    fields = {"state_dir": folder / "state", "poll_s": 0.2, **options}
    return Settings(database_url=database_url, **fields)


@contextmanager
def running(
    folder: Path, url: str | None = None, *, clock: Callable[[], float] = time.time, **options: Any
) -> Iterator[Running]:
    """Run a service, and yield it once it is ready."""
    created = Running(settings_for(folder, url, **options), clock=clock)
    try:
        yield created.until_ready()
    finally:
        created.stop()
