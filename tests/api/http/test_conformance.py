"""Requests made from the OpenAPI document: no answer is a fault, and none is outside the document.

More of them: EXAMPLES=200 in the environment.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.running import Running, bearer, running
from tests.paths import HANGS_S

EXAMPLES = int(os.environ.get("EXAMPLES", "6"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCOPES = ("decide", "outcome", "feedback", "read", "admin", "none")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Running, dict[str, dict[str, str]]]]:
    # One for each scope: what an admin's requests leave behind is not what the others are to meet.
    with running(tmp_path) as running_service:
        running_service.decide(id="order-17")
        admin = bearer(running_service.post("/v1/keys", {"name": "first", "scopes": ["admin"]})["key"])
        keys = {"admin": admin, "none": {}}
        for scope in ("decide", "outcome", "feedback", "read"):
            created = running_service.client.post(
                "/v1/keys", json={"name": scope, "scopes": [scope]}, headers=admin
            )
            keys[scope] = bearer(created.json()["key"])
        yield running_service, keys


def with_known_names(running_service: Running, case: Any) -> None:
    """Names that exist, where the document lets any be made up: a request that gets further in."""
    folder = case.path.split("/")[2] if case.path.startswith("/v1/") else ""
    ids = {
        "decisions": "order-17",
        "routes": "quickstart",
        "providers": "small",
        "prices": next(iter(running_service.service.engine.in_force.config.prices), "none"),
        "keys": next(reversed(running_service.service.engine.in_force.config.keys), "none"),
        "budgets": next(iter(running_service.service.engine.in_force.config.budgets), "none"),
    }
    if case.path_parameters and case.method != "DELETE":
        case.path_parameters = dict.fromkeys(case.path_parameters, ids[folder])
    bodies = case.body.values() if isinstance(case.body, dict) else ()
    for item in (case.body, *(part for value in bodies if isinstance(value, list) for part in value)):
        if not isinstance(item, dict):
            continue
        for name, value in (("route", "quickstart"), ("decision_id", "order-17"), ("provider", "small")):
            if name in item:
                item[name] = value
        if folder == "decisions" and "route" in item:
            for name in ("features", "embedding", "messages", "candidates"):
                item.pop(name, None)
            item["prompt"] = "Where is my parcel?"


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(path, method) for path, entry in document["paths"].items() for method in entry]


def probe(running_service: Running, operation: Any, headers: dict[str, str]) -> set[int]:
    """Send requests of one kind; which statuses came back. Fails where an answer is not of the document."""
    seen: set[int] = set()

    @given(case=operation.as_strategy(), use_known_names=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any, use_known_names: bool) -> None:
        if use_known_names:
            with_known_names(running_service, case)
        response = case.call(headers=headers, timeout=HANGS_S)
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
    return seen


@pytest.mark.parametrize("scope", SCOPES)
def test_every_answer_is_one_of_the_document(
    service: tuple[Running, dict[str, dict[str, str]]], scope: str
) -> None:
    running_service, keys = service
    document = running_service.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{running_service.port}")
    if scope in ("decide", "admin"):
        # Of the few that are made up, none may be one that is answered.
        asked = {"route": "quickstart", "prompt": "Where is my parcel?"}
        assert (
            running_service.client.post("/v1/decisions", json=asked, headers=keys[scope]).status_code == 200
        )
    seen: dict[str, set[int]] = {}
    for path, method in operations(document):
        operation = schema[path][method.upper()]
        seen[f"{method} {path}"] = probe(running_service, operation, keys[scope])
    assert len(seen) == len(operations(document))
    statuses = set().union(*seen.values())
    if scope == "none":
        assert not any(
            200 <= status < 300
            for name, statuses_seen in seen.items()
            if "/v1/" in name
            for status in statuses_seen
        )
    else:
        assert statuses & {200, 201}, "something was let in"
