"""What the bounded protocol needs of uvicorn's own, which is private to uvicorn."""

import asyncio
import inspect

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from fairlead.api.http.protocol import Admission, BoundedProtocol

ATTRIBUTES = {
    "cycle",
    "headers",
    "loop",
    "parser",
    "tasks",
    "timeout_keep_alive",
    "timeout_keep_alive_task",
    "transport",
}


async def new_protocol() -> BoundedProtocol:
    def app(*_: object) -> None: ...

    admission = Admission(max_requests=1, header_timeout_s=1.0, refused=lambda: None)
    state = ServerState()
    return BoundedProtocol(config=Config(app), server_state=state, app_state={}, admission=admission)


def test_uvicorn_has_the_attributes_that_the_protocol_uses() -> None:
    bounded = asyncio.run(new_protocol())
    assert vars(bounded).keys() >= ATTRIBUTES
    assert hasattr(bounded.parser, "should_keep_alive") and hasattr(bounded.parser, "get_method")
    # The URL is set as the parser calls, and a cycle when a request begins.
    assert "self.url = " in inspect.getsource(HttpToolsProtocol.on_message_begin)
    assert "self.response_complete = " in inspect.getsource(RequestResponseCycle.__init__)


def test_uvicorn_calls_the_methods_that_the_protocol_overrides() -> None:
    own = {name for name, value in vars(BoundedProtocol).items() if inspect.isfunction(value)}
    overridden = {name for name in own if hasattr(HttpToolsProtocol, name)} - {"__init__"}
    assert overridden == {
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_header",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
    }
    for name in overridden:
        theirs, ours = (getattr(kind, name) for kind in (HttpToolsProtocol, BoundedProtocol))
        assert len(inspect.signature(theirs).parameters) == len(inspect.signature(ours).parameters), name
    assert callable(HttpToolsProtocol.timeout_keep_alive_handler)


def test_finished_tasks_leave_room_and_room_is_counted_once_in_a_turn() -> None:
    async def refusals() -> list[bool]:
        async def nothing() -> None: ...

        admission = Admission(max_requests=2, header_timeout_s=1.0, refused=lambda: None)
        done, waiting = asyncio.create_task(nothing()), asyncio.create_task(asyncio.sleep(5.0))
        await asyncio.sleep(0)
        tasks = {done, waiting}
        full = [admission.is_full(tasks, now_s) for now_s in (1.0, 1.0, 2.0)]
        waiting.cancel()
        return full

    assert asyncio.run(refusals()) == [False, True, False]
