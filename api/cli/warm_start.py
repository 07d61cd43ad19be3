"""The command that tells a running service what is known beforehand: `fairlead warm-start`."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from typer import Argument, Option

from fairlead.api.cli import options
from fairlead.optimizer.errors import InvalidInput

_PART_BYTES: Final = 700_000
"""Less than a service accepts as a body by default."""

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class WarmStartOptions:
    """Arguments and options of `fairlead warm-start`."""

    route: Annotated[str, Argument(help="Route of the service.")]
    file: Annotated[
        Path, Argument(help="Evaluations, a log of decisions, or means: .parquet, .csv or .jsonl.")
    ]
    source: Annotated[
        str | None, Option(help="Name of the source; what it said before is replaced. Default: the file's.")
    ] = None
    url: Annotated[str, Option(help="Address of the service.")] = "http://127.0.0.1:8300"
    key: Annotated[
        str | None, Option(help="API key with the scope admin. Default: FAIRLEAD_KEY in the environment.")
    ] = None
    quality_range: Annotated[str, Option(help="Range of the quality in the file, LOW:HIGH.")] = "0:1"
    ignore_unknown: Annotated[
        bool, Option("--ignore-unknown", help="Leave out providers that are not on the route.")
    ] = False
    preview: Annotated[bool, Option("--preview", help="Check everything, and change nothing.")] = False


def warm_start(asked: WarmStartOptions) -> None:
    """Tell a route what is known of its providers, and print what it took in.

    How much of it is believed, the route's own traffic decides: what misleads fades by itself, and the state
    of the route shows the trust that it has earned.

    Own evaluations, a row for each prompt and provider (prompt, task, model, quality; perhaps cost_usd,
    output_tokens, latency_s):

        fairlead warm-start support-chat evaluations.csv

    Published means (provider, task, mean, n), and a log of decisions as `fairlead replay` reads it:

        fairlead warm-start support-chat leaderboard.csv --ignore-unknown

        fairlead warm-start support-chat log.parquet --source "last year"
    """
    from fairlead.experiments.tables.evaluations import parts_of, read_evaluations

    low, high = options.reward_range(asked.quality_range)
    evaluations = read_evaluations(asked.file, quality_range=(low, high))
    service = _Client(asked.url, asked.key or os.environ.get("FAIRLEAD_KEY"))
    address = f"/v1/routes/{quote(asked.route, safe='')}"
    route = service.call("GET", address)
    rows, notes = _fitting(list(evaluations.rows), route, asked)
    notes = [*evaluations.notes, *notes]
    source, answers = asked.source or asked.file.name, dict[str, int]()
    query = "?preview=true" if asked.preview else ""
    for number, part in enumerate(parts_of(rows, most_bytes=_PART_BYTES)):
        body = {"source": source, "part": number, "rows": part}
        for name, count in service.call("POST", f"{address}/evidence{query}", body)["answers"].items():
            answers[name] = answers.get(name, 0) + count
    for note in notes:
        print(note)
    shown = ", ".join(f"{name} {count:,}" for name, count in sorted(answers.items()))
    verb = "would take in" if asked.preview else "took in"
    print(f"{asked.route} {verb} {len(rows):,} rows of {source!r}; answers by provider: {shown}.")


def _fitting(
    rows: list[dict[str, Any]], route: dict[str, Any], asked: WarmStartOptions
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows that fit the route, and sentences about what was left out."""
    notes = []
    unknown = sorted({name for row in rows for name in row["answers"] if name not in route["providers"]})
    if unknown and not asked.ignore_unknown:
        raise InvalidInput(
            f"{asked.file}: {', '.join(unknown)} are not on route {asked.route!r}, which has "
            f"{', '.join(route['providers'])}: name them as the route does, or give --ignore-unknown."
        )
    if unknown:
        notes.append(f"Left out, because they are not on the route: {', '.join(unknown)}.")
    width, cut = route["feature_width"], 0
    fitting = []
    for row in rows:
        answers = {name: answer for name, answer in row["answers"].items() if name not in unknown}
        content = {name: value for name, value in row.items() if name not in ("request", "answers")}
        if len(content.get("features", ())) not in (0, width):
            del content["features"]
            cut += 1
        if answers:
            fitting.append({**content, "answers": answers})
    if cut:
        notes.append(f"{cut:,} rows have features of another width than {width}: they count without them.")
    if not fitting:
        raise InvalidInput(f"{asked.file}: nothing is left that is about a provider of {asked.route!r}.")
    return fitting, notes


class _Client:
    """A client of the service that turns its problems into sentences."""

    def __init__(self, url: str, key: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"the address of the service is {url!r}: give one as http://127.0.0.1:8300.")
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request, and return the answer."""
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                content: dict[str, Any] = json.load(answer)
                return content
        except urllib.error.HTTPError as error:
            raise InvalidInput(f"{path.partition('?')[0]}: {_detail(error)}") from None
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise InvalidInput(
                f"no service answers at {self._url} ({reason}): start it, or name its address with --url."
            ) from None


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.load(error)
        fields = [f"{each['field']}: {each['message']}" for each in problem.get("errors") or ()]
        return " ".join([problem["detail"], *fields])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
