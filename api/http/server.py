"""The server: a listening socket, and uvicorn with bounds on what clients can make it wait for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import uvicorn

from fairlead.api.http.protocol import Admission, BoundedProtocol
from fairlead.api.settings import Settings
from fairlead.optimizer.errors import InvalidInput

_BACKLOG: Final = 1024


def new_server(app: Any, settings: Settings, *, refused: Callable[[], None]) -> uvicorn.Server:
    """Return a server for the application; ``refused`` is called when ``max_in_flight`` is exceeded."""
    admission = Admission(
        max_requests=settings.max_in_flight,
        header_timeout_s=settings.header_timeout_s,
        refused=refused,
    )
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(BoundedProtocol, admission=admission)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(settings.shutdown_timeout_s),
    )
    return uvicorn.Server(config)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; `InvalidInput` if the address cannot be used."""
    listening: socket.socket | None = None
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # From here on clients wait, and are not refused, until the server takes over.
        listening.listen(_BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        reason = error.strerror or str(error)
        raise InvalidInput(
            f"{host}:{port} cannot be listened on ({reason}): choose another host or port"
        ) from None
    return listening
