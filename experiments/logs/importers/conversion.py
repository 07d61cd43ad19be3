"""From the rows of a source to a log: what is left out, repeats, rewards, order, and the report."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from fairlead.experiments.files import reason_of, sql_text
from fairlead.experiments.logs.importers import names, rewards, sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.output import write_decisions
from fairlead.experiments.logs.importers.reading import Table, documents, open_rows
from fairlead.experiments.logs.importers.report import ImportReport, printable
from fairlead.experiments.logs.importers.source import Selection, Source
from fairlead.experiments.logs.importers.sources import SOURCES, TABLES
from fairlead.experiments.logs.source import bounded
from fairlead.optimizer.errors import InvalidInput

Connection = duckdb.DuckDBPyConnection

_TYPES = {
    "decision_id": "VARCHAR",
    "at_us": "BIGINT",
    "route": "VARCHAR",
    "task": "VARCHAR",
    "attributes": "JSON",
    "providers": "VARCHAR[]",
    "propensities": "DOUBLE[]",
    "propensity": "DOUBLE",
    "provider": "VARCHAR",
    "served_provider": "VARCHAR",
    "reward": "DOUBLE",
    "cost_usd": "DOUBLE",
    "latency_s": "DOUBLE",
    "status": "VARCHAR",
}
_MOST_PROVIDERS = 1000
_MOST_COST_USD, _MOST_LATENCY_S = 1e6, 1e6


def import_log(path: Path, *, source: str, out: Path | None, options: ImportOptions) -> ImportReport:
    """Write the log of another system as a log of decisions to ``out``, and report; None writes nothing.

    `InvalidInput` names the file, the row and the remedy. Memory stays bounded: DuckDB sorts, and spills to
    the temporary folder.
    """
    if source not in SOURCES:
        raise InvalidInput(f"{source!r} is no kind of log: choose among {', '.join(SOURCES)}")
    if source == "events":
        from fairlead.experiments.logs.importers.events import import_events

        options.require("events", frozenset({"route"}))
        return import_events(path, out, route=options.route)
    kind = TABLES[source]
    options.require(source, kind.applicable)
    if options.reward_range is not None and options.rewards is None and not (kind.judges or options.score):
        more = " or --score NAME" if "score" in kind.applicable else ""
        raise InvalidInput(
            f"--reward-range says what the rewards of a file mean, and {source} has none of its own: give "
            f"--rewards FILE{more} too, or leave it out."
        )
    with tempfile.TemporaryDirectory(prefix="fairlead-") as temporary:
        folder = Path(temporary)
        try:
            with bounded(folder) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                return _Conversion(connection, path, kind=kind, options=options).run(source, out, folder)
        except duckdb.Error as error:
            raise InvalidInput(f"{path}: cannot be read ({reason_of(error)}): export it again.") from None


class _Conversion:
    """The steps of one import; each leaves a table in the connection for the next."""

    def __init__(self, connection: Connection, path: Path, *, kind: Source, options: ImportOptions) -> None:
        self._connection = connection
        self._path = path
        self._kind = kind
        self._options = options
        self._tally: list[str] = []
        self._notes: list[str] = []

    def run(self, source: str, out: Path | None, folder: Path) -> ImportReport:
        prepared = self._kind.prepare(self._path, folder) if self._kind.prepare is not None else None
        if prepared is None:
            table = open_rows(self._connection, self._path, folder)
        else:
            table = documents(prepared, folder)
        selection = self._kind.select(table, self._options)
        self._create_decisions(table, selection)
        self._create_left(table)
        self._refuse()
        self._create_repeats()
        self._check_providers()
        rewards.read_rewards(self._connection, self._options, folder / "rewards")
        self._create_kept()
        report = self._report(source)
        if not report.kept:
            reasons = "; ".join(f"{count:,} {reason}" for reason, count in report.left_out.items())
            raise InvalidInput(
                f"{self._path}: no decision was found in its {report.read:,} rows"
                f"{f' (left out: {printable(reasons)})' if reasons else ''}: {self._kind.remedy}."
            )
        if out is not None:
            write_decisions(self._connection, out)
        return report

    def _create_decisions(self, table: Table, selection: Selection) -> None:
        """Read every row, with ``left_out`` and ``wrong``, the reasons why it is no decision."""
        columns = dict(selection.columns)
        for name in ("provider", "served_provider"):
            if name in columns:
                columns[name] = names.aliased(f"({columns[name]})", self._options.aliases)
        if "providers" in columns:
            renamed = names.aliased("name", self._options.aliases)
            columns["providers"] = f"list_transform({columns['providers']}, lambda name: {renamed})"
        raw = columns.get("reward")
        columns["reward"] = rewards.scaled(raw, self._options) if raw else "NULL"
        chosen = ", ".join(f"({columns.get(n, 'NULL')})::{kind} AS out_{n}" for n, kind in _TYPES.items())
        skipped = _first((*self._filters(table), *selection.left_out))
        refused = _first((*selection.refused, *self._rules(raw)))
        self._tally = list(selection.tally)
        tallies = "".join(f", ({test}) AS tally{i}" for i, test in enumerate(selection.tally.values()))
        inner = f"SELECT *, {skipped} AS skipped, {chosen} FROM {table.relation()}"
        renamed_columns = ", ".join(f"out_{name} AS {name}" for name in _TYPES)
        self._connection.execute(
            f"CREATE TABLE decisions AS SELECT row, CASE WHEN broken IS NULL THEN skipped END AS left_out, "
            f"coalesce(broken, CASE WHEN skipped IS NULL THEN {refused} END) AS wrong, {renamed_columns}"
            f"{tallies} FROM ({inner})"
        )

    def _filters(self, table: Table) -> list[tuple[str, str]]:
        pairs = []
        for asked in self._options.filters:
            text = table.text(asked.column)
            if table.columns is not None and text == "NULL::VARCHAR":
                raise InvalidInput(
                    f"{self._path}: --filter {asked}: there is no column {asked.column!r}: use one of "
                    f"{', '.join(map(printable, table.columns))}."
                )
            fits = f"coalesce({sql.glob(text, asked.pattern)}, {sql_text(asked.pattern)} = '')"
            pairs.append((fits if asked.negated else f"NOT {fits}", sql_text(f"by --filter {asked}")))
        return pairs

    def _rules(self, raw_reward: str | None) -> list[tuple[str, str]]:
        """Refuse what no source may have: models outside the weights, amounts and rewards out of range."""
        pairs = []
        shares = self._options.shares
        if shares is not None:
            listed = ", ".join(map(sql_text, shares))
            remedy = sql_text(
                f"' is none of {', '.join(shares)}: --weights lacks it: name every provider that traffic was "
                "split over, or give --alias PATTERN=NAME if it is one of them under another name"
            )
            sentence = f"'model ''' || left(out_provider, 80) || {remedy}"
            pairs.append((f"out_provider NOT IN ({listed})", sentence))
        if raw_reward:
            outside = rewards.outside(f"({raw_reward})::VARCHAR", self._options)
            pairs.append(("NOT coalesce(out_reward BETWEEN 0 AND 1, true)", outside))
        for name, most in (("cost_usd", _MOST_COST_USD), ("latency_s", _MOST_LATENCY_S)):
            pairs.append(
                (f"out_{name} > {most}", f"'{name} is ' || out_{name} || ', above {most:g}: check its unit'")
            )
        doubled = "len(list_distinct(out_providers)) <> len(out_providers)"
        pairs.append((doubled, "'two of its providers have one name: rename one with --alias'"))
        return pairs

    def _create_left(self, table: Table) -> None:
        """List the rows without a decision, each with its reason and whether it breaks a rule."""
        self._connection.execute(
            "CREATE TABLE left_rows AS SELECT row, coalesce(wrong, left_out) AS reason, "
            "wrong IS NOT NULL AS refused FROM decisions WHERE wrong IS NOT NULL OR left_out IS NOT NULL"
        )
        unread = [*table.unread, *self._rejected()]
        if unread:
            self._connection.executemany("INSERT INTO left_rows VALUES (?, ?, true)", unread)

    def _rejected(self) -> list[tuple[int, str]]:
        """Lines of CSV that DuckDB left out, each with the reason."""
        try:
            rows = self._connection.execute(
                "SELECT line, any_value(error_message) FROM reject_errors GROUP BY line ORDER BY line"
            ).fetchall()
        except duckdb.CatalogException:  # no CSV was read
            return []
        return [
            (
                int(line) - 1,
                f"the line does not fit the header ({str(text).splitlines()[0].rstrip('. ')}): mend it",
            )
            for line, text in rows
        ]

    def _refuse(self) -> None:
        refused = self._connection.execute(
            "SELECT row, reason, count(*) OVER () FROM left_rows WHERE refused ORDER BY row LIMIT 1"
        ).fetchone()
        if refused is None or self._options.skip_bad:
            return
        row, reason, count = refused
        others = f" ({count - 1:,} more rows are wrong)" if count > 1 else ""
        raise InvalidInput(
            f"{self._path}, row {row}: {printable(str(reason))}, or leave such rows out with "
            f"--skip-bad{others}."
        )

    def _create_repeats(self) -> None:
        """Leave out all rows of an id but its first decision."""
        self._connection.execute(
            "CREATE TABLE doubled AS SELECT decision_id FROM decisions WHERE wrong IS NULL AND decision_id "
            "IS NOT NULL GROUP BY decision_id HAVING count(*) > 1 AND bool_or(left_out IS NULL)"
        )
        self._connection.execute(
            "CREATE TABLE repeats AS SELECT row FROM (SELECT row, row_number() OVER (PARTITION BY "
            "decision_id ORDER BY left_out IS NOT NULL, at_us, row) AS nth FROM decisions SEMI JOIN doubled "
            "USING (decision_id) WHERE wrong IS NULL) WHERE nth > 1"
        )
        self._connection.execute("DELETE FROM left_rows WHERE row IN (SELECT row FROM repeats)")
        self._connection.execute(
            "INSERT INTO left_rows SELECT row, 'repeats of an id that has its decision already', false "
            "FROM repeats"
        )

    def _check_providers(self) -> None:
        """List the providers that each row could have had: by weights, by the row itself, or by its route."""
        self._connection.execute("CREATE VIEW good AS FROM decisions ANTI JOIN left_rows USING (row)")
        count = self._connection.execute("SELECT approx_count_distinct(provider) FROM good").fetchone()
        assert count is not None
        if count[0] > _MOST_PROVIDERS:
            raise InvalidInput(
                f"{self._path}: there are about {count[0]:,} providers, more than {_MOST_PROVIDERS:,}: check "
                "what the column of models holds, or join them with --alias PATTERN=NAME."
            )
        self._connection.execute(
            "CREATE TABLE by_route AS SELECT coalesce(route, '') AS route_name, "
            "list_sort(list(DISTINCT provider)) AS seen FROM good GROUP BY ALL"
        )

    def _create_kept(self) -> None:
        shares = self._options.shares
        providers, propensities = "coalesce(providers, seen)", "propensities"
        if shares is not None:
            listed = sorted(shares)
            providers = f"[{', '.join(map(sql_text, listed))}]"
            propensities = f"[{', '.join(repr(shares[name]) for name in listed)}]::DOUBLE[]"
        elif self._is_uniform():
            propensities = "list_transform(seen, lambda name: 1.0 / len(seen))"
        self._connection.execute(
            f"CREATE VIEW kept AS SELECT good.* REPLACE ({providers} AS providers, "
            f"{propensities} AS propensities, coalesce(rewards.reward, good.reward) AS reward, "
            "nullif(served_provider, provider) AS served_provider) FROM good "
            "LEFT JOIN rewards ON rewards.id = good.decision_id "
            "LEFT JOIN by_route ON by_route.route_name = coalesce(good.route, '')"
        )

    def _is_uniform(self) -> bool:
        """Tell if what was drawn has the propensities of a uniform draw, which says those of the others."""
        extremes = self._connection.execute(
            "SELECT min(propensity * len(seen)), max(propensity * len(seen)), count(propensity) FROM good "
            "LEFT JOIN by_route ON by_route.route_name = coalesce(good.route, '')"
        ).fetchone()
        assert extremes is not None
        lowest, highest, count = extremes
        if not count or max(abs(lowest - 1.0), abs(highest - 1.0)) < 1e-3:
            return bool(count)
        self._notes.append(
            "The log has the propensity of the chosen provider alone, and the draw was not uniform, so those "
            "of the others cannot be told: log the whole distribution to weigh decisions by it."
        )
        return False

    def _report(self, source: str) -> ImportReport:
        connection = self._connection
        facts = connection.execute(
            f"SELECT count(*), {sql.time_text('min(at_us)')}, {sql.time_text('max(at_us)')}, "
            "count(*) FILTER (coalesce(status, 'ok') <> 'ok'), count(reward), count(*) - count(cost_usd), "
            "count(propensities) FROM kept"
        ).fetchone()
        rows = connection.execute("SELECT reason, count(*), bool_and(refused) FROM left_rows GROUP BY reason")
        left = {str(reason): (int(count), bool(refused)) for reason, count, refused in rows.fetchall()}
        chosen = connection.execute("SELECT provider, count(*) FROM good GROUP BY provider").fetchall()
        assert facts is not None
        kept = int(facts[0])
        read = kept + sum(count for count, _ in left.values())
        return ImportReport(
            path=self._path,
            source=source,
            read=read,
            kept=kept,
            left_out={reason: count for reason, (count, _) in left.items()},
            refused=sum(count for count, refused in left.values() if refused),
            first=facts[1] or "",
            last=facts[2] or "",
            providers={str(name): int(count) for name, count in chosen},
            failed=int(facts[3]),
            judged=int(facts[4]),
            unpriced=int(facts[5]),
            with_propensities=bool(facts[6]),
            rewards=rewards.reward_report(connection) if self._options.rewards is not None else None,
            notes=self._all_notes({str(name) for name, _ in chosen}),
        )

    def _all_notes(self, chosen: set[str]) -> list[str]:
        notes = list(self._notes)
        for i, sentence in enumerate(self._tally):
            count = self._connection.execute(f"SELECT count(*) FILTER (tally{i}) FROM good").fetchone()
            if count is not None and count[0]:
                notes.append(sentence.format(count=f"{count[0]:,}"))
        shares = self._options.shares or {}
        if shares and shares != self._options.weights:
            listed = ", ".join(f"{name} {share:.6g}" for name, share in shares.items())
            notes.append(f"The weights are relative; the shares are {listed}.")
        idle = sorted(set(shares) - chosen)
        if idle:
            notes.append(f"No call went to {', '.join(idle)}, which --weights names.")
        return [*notes, *names.alias_offers(chosen, shares)]


def _first(pairs: tuple[tuple[str, str], ...]) -> str:
    cases = " ".join(f"WHEN {condition} THEN {reason}" for condition, reason in pairs)
    return f"CASE {cases} END" if cases else "NULL::VARCHAR"
