"""Every address, setting and metric is documented; the quick start does what it says."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.api.schemas.base import Strict
from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.settings import Settings
from tests.api.running import Running, running
from tests.paths import HANGS_S, ROOT

PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("docs")) as live:
        yield live


def test_every_address_is_documented_and_no_other(service: Running) -> None:
    declared = {
        f"{method.upper()} {path}"
        for path, methods in service.get("/openapi.json")["paths"].items()
        for method in methods
    }
    # A name may have slashes, which is no matter for the reader.
    documented = set(re.findall(r"^\| `((?:GET|POST|PATCH|DELETE) /\S+)`", PAGE, flags=re.MULTILINE))
    assert {entry.replace(":path}", "}") for entry in declared} == documented


def test_addresses_and_operation_ids_stay_what_generated_clients_know(service: Running) -> None:
    declared = {
        f"{method.upper()} {path} {operation['operationId']}"
        for path, methods in service.get("/openapi.json")["paths"].items()
        for method, operation in methods.items()
    }
    assert declared == set((ROOT / "tests/api/http/operations.txt").read_text(encoding="utf-8").splitlines())


def test_every_setting_is_documented_with_its_default() -> None:
    section = PAGE.split("## Settings")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", section, flags=re.MULTILINE))
    assert set(rows) == set(Settings.model_fields)
    for name, shown in rows.items():
        default = Settings.model_fields[name].default
        if shown != "none":
            written = json.dumps(default) if isinstance(default, bool) else f"{default}".removesuffix(".0")
            assert shown == written, name
        assert Settings.model_fields[name].description, name


def test_every_metric_is_documented_and_no_other(service: Running) -> None:
    service.client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_request": 0.001}})
    service.decide()
    names = set()
    text = service.client.get("/metrics").text
    assert "_created" not in text
    for family in text_string_to_metric_families(text):
        if family.type in ("counter", "histogram", "gauge"):
            names.add(family.name + ("_total" if family.type == "counter" else ""))
    documented = set(re.findall(r"^\| `(fairlead_\w+)` \|", PAGE, flags=re.MULTILINE))
    assert names == documented


def test_the_document_has_a_schema_and_an_example_for_every_body(service: Running) -> None:
    document = service.get("/openapi.json")
    schemas = document["components"]["schemas"]
    bodies, models = 0, {model.__name__: model for model in (*Strict.__subclasses__(), SharedBudgetIn)}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            for status, response in operation["responses"].items():
                for content in response.get("content", {}).values():
                    whole = {**content["schema"], "components": document["components"]}
                    jsonschema.validate(content["example"], whole)
                    if status[0] in "45" and path != "/readyz":
                        assert content["example"]["status"] == int(status), path
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                name = content["schema"]["$ref"].rpartition("/")[2]
                assert name in schemas
                bodies += 1
                whole = {**content["schema"], "components": document["components"]}
                jsonschema.validate(content["example"], whole)
                if not name.endswith("Patch"):  # of which no field is needed, whatever its model says
                    models[name].model_validate_json(json.dumps(content["example"]))
            else:
                assert method in ("get", "delete"), path
    assert bodies == 16
    text = json.dumps(document)
    for reference in set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', text)):
        assert reference in schemas, reference


def test_every_field_that_can_be_sent_or_was_learned_is_described(service: Running) -> None:
    schemas = service.get("/openapi.json")["components"]["schemas"]
    bodies = {name for name in schemas if name.endswith(("In", "Patch"))}
    waiting, seen = list(bodies | {"BeliefOut", "AlarmOut"}), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for field, entry in schemas[name]["properties"].items():
            assert entry.get("description"), f"{name}.{field}"
        used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(schemas[name])))
        waiting += used - seen
    assert {"Message", "MetricIn", "RequestConstraints", "RoutePatch"} <= seen


def test_the_two_commands_of_the_quick_start_change_the_next_decision(service: Running) -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("curl ")]
    assert len(commands) == 2

    def run(command: str) -> dict[str, object]:
        arguments = shlex.split(command.replace("localhost:8300", f"127.0.0.1:{service.port}"))
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=HANGS_S, check=True)
        names: dict[str, object] = json.loads(done.stdout)
        return names

    first = run(commands[0])
    assert run(commands[1])["state"] == "joined"
    service.until(service.settled)  # a person takes longer to type than a busy machine to fold
    second = run(commands[0].replace(', "id": "order-17"', ""))
    praised = first["selected"]
    before, after = (
        next(entry for entry in live["candidates"] if entry["provider"] == praised)  # type: ignore[attr-defined]
        for live in (first, second)
    )
    assert after["expected"]["quality"] > before["expected"]["quality"] + 0.02
    # Which way depends on the other provider, of which less is known now.
    assert after["propensity"] != before["propensity"]
