"""docs/operations.md tells the truth: its blocks run, and the metrics and fields that it names exist."""

import re
import subprocess
import sys

import pytest
import yaml

from fairlead.api.schemas.decisions import CandidateOut, DecisionOut
from fairlead.api.schemas.state import RouteStateOut
from tests.paths import HANGS_S, ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SERVICE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
METRICS = set(re.findall(r"^\| `(fairlead_\w+)` \|", SERVICE, flags=re.MULTILINE))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_blocks_print_what_is_shown() -> None:
    for block, shown in zip(blocks("python"), blocks("text"), strict=True):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            check=False,
        )
        assert done.stdout == shown, done.stdout + done.stderr


def test_every_metric_it_names_is_one_of_the_service() -> None:
    names = set(re.findall(r"fairlead_\w+", PAGE))
    assert len(names) > 8
    assert not names - METRICS


def test_the_alert_rules_can_be_read() -> None:
    (block,) = blocks("yaml")
    (group,) = yaml.safe_load(block)["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names)) >= 6
    for rule in group["rules"]:
        assert re.search(r"fairlead_\w+", rule["expr"]), rule


def fields(schema: object) -> set[str]:
    """Return the names of all properties of a JSON schema, however deep."""
    if isinstance(schema, list):
        return set().union(*map(fields, schema))
    if not isinstance(schema, dict):
        return set()
    inner = set().union(*map(fields, schema.values())) if schema else set()
    properties = schema.get("properties")
    return inner | set(properties) if isinstance(properties, dict) else inner


def test_every_field_of_the_state_that_the_table_names_exists() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| [")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}
    assert len(named) > 4
    assert not named - fields(RouteStateOut.model_json_schema())


def test_what_it_says_of_answers_exists() -> None:
    for name in ("candidates", "relaxed", "fallback_used", "fallbacks"):
        assert f"`{name}`" in PAGE
        assert name in DecisionOut.__struct_fields__
    assert {"propensity", "reason"} <= set(CandidateOut.__struct_fields__)


@pytest.mark.parametrize("heading", re.findall(r"\]\(#([^)]*)\)", PAGE))
def test_every_case_of_the_table_has_its_section(heading: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    assert heading in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
