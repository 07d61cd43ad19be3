"""Word from PostgreSQL that there is more in the log. Only a shortcut: whoever hears nothing polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import psycopg

from fairlead.api.store.postgres import CHANNEL, connection_info

_LOG = logging.getLogger("fairlead.store")
_AGAIN_S: Final = 1.0


async def listen(url: str, wake: Callable[[], None]) -> None:
    """Call ``wake`` whenever a process has written, until cancelled; connect again when cut off."""
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                connection_info(url), autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                # What was written while nobody listened.
                wake()
                async for _ in connection.notifies():
                    wake()
        except psycopg.Error as error:
            _LOG.warning("no word from PostgreSQL (%s): polling until it is back", type(error).__name__)
        await asyncio.sleep(_AGAIN_S)
