"""The command `fairlead serve`: settings, store, application and server, opened in this order."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from fairlead.api.cli.options import Config

if TYPE_CHECKING:
    from fairlead.api.settings import Settings


def serve(
    config: Config = None,
    *,
    check: Annotated[bool, Option("--check", help="Only check whether the service could start.")] = False,
    host: Annotated[str | None, Option(help="Address to listen on; overrides the settings.")] = None,
    port: Annotated[
        int | None,
        Option(min=0, max=65_535, help="Port to listen on; overrides the settings. 0 picks a free one."),
    ] = None,
) -> None:
    """Serve decisions over HTTP and learn from feedback; print the address, then log on stderr.

        fairlead serve --config fairlead.yaml

    Without settings, the log is fairlead.db in this folder, with a route `quickstart` to try things out.
    """
    from fairlead.api.settings import read_settings

    settings = read_settings(config)
    # The command line overrides the environment, which a new validation would read again.
    typed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update=typed)
    if check:
        check_settings(settings)
        print("The settings are valid.")
        return
    _configure_logging(settings.log_level)
    run(settings)


def check_settings(settings: Settings) -> None:
    """Raise `InvalidInput` if the service could not start, without changing anything."""
    import time
    from contextlib import closing

    from fairlead.api.service.auth import check_address
    from fairlead.api.service.declared import declared_changes
    from fairlead.api.state.configuration_view import ConfigurationView, read_configuration
    from fairlead.api.state.text_key import check_key
    from fairlead.api.store import open_store, sqlite_path
    from fairlead.optimizer.errors import InvalidInput

    view = ConfigurationView()
    url = settings.database_url
    new = url.startswith("sqlite:") and not Path(sqlite_path(url)).exists()
    if not new:
        with closing(open_store(url, read_only=True)) as store:
            read_configuration(store, view).require_files()
    elif not Path(sqlite_path(url)).absolute().parent.is_dir():
        raise InvalidInput(f"{sqlite_path(url)}: the folder of this file does not exist: create it first")
    check_key(settings)
    declared_changes(settings, view, now_s=time.time())
    check_address(settings.host, has_keys=bool(view.config.keys))


def run(settings: Settings) -> None:
    """Open everything and serve until interrupted."""
    from fairlead.api.app import create_app
    from fairlead.api.http.server import bind, new_server
    from fairlead.api.service.auth import check_address
    from fairlead.api.service.service import Service
    from fairlead.api.state.runtime import tune_for_serving
    from fairlead.optimizer.errors import InvalidInput

    os.umask(0o077)  # what it writes, and what its processes write, is for its own user alone
    tune_for_serving()
    service = Service(settings)
    try:
        check_address(settings.host, has_keys=service.has_keys)
        listening = bind(settings.host, settings.port)
    except BaseException:
        service.store.close()
        raise
    app = create_app(settings, service=service)
    server = new_server(app, settings, refused=service.metrics.refused)
    name, number = listening.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    open_to_all = "" if service.has_keys else " (no API key exists yet: only this machine is served)"
    print(f"Fairlead listens on http://{shown}:{number}, docs at /docs{open_to_all}", flush=True)
    server.run(sockets=[listening])
    if not server.started:
        raise InvalidInput("the service did not start: the log lines above say why")


def _configure_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Its lines name the addresses that clients asked for.
    logging.getLogger("uvicorn.access").disabled = True
    for noisy in ("alembic", "asyncio", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
