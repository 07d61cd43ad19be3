"""The baseline: the same decision behind an ordinary endpoint, with a session and a commit for each request.

This is how a service is written at first: FastAPI reads and validates the body, the endpoint is a function in
a thread, an ORM session adds one row and commits it. Router, fields and durability are those of the service.

No `from __future__ import annotations` here: SQLModel and FastAPI read the annotations as they are.
"""

import random
import secrets
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import sqlalchemy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlmodel import Field, Session, SQLModel

from fairlead.api.http.server import bind
from fairlead.api.service.answers import decision_answer
from fairlead.api.settings import read_settings
from fairlead.api.state.decide import decide
from fairlead.api.state.fold import Fold
from fairlead.api.store import Row
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context
from tests.trials.logs import declared_rows
from tests.trials.states import new_fold


class Kept(SQLModel, table=True):
    """One decision as it is stored; in a registry of its own, apart from the service's tables."""

    metadata = sqlalchemy.MetaData()

    id: str = Field(primary_key=True)
    route: str
    at_s: float
    line: str


class Asked(BaseModel):
    """A request for a choice."""

    route: str
    features: list[float]
    input_tokens: float


def application(fold: Fold, engine: sqlalchemy.Engine) -> FastAPI:
    """Build the ordinary service."""
    app, guard, rng = FastAPI(), threading.Lock(), random.Random(0)
    order = [fold.seq]

    @app.post("/v1/decisions")
    def decide_one(asked: Asked) -> dict[str, Any]:
        """Decide, and store the decision before it is answered."""
        served = fold.routes[asked.route]
        context = Context(features=np.array(asked.features), input_tokens=asked.input_tokens)
        name, at_s = secrets.token_hex(12), time.time()
        with guard:
            decision, _ = decide(served, context, decision_id=name, draw=rng.random(), at_s=at_s)
        line = encode(decision)
        with Session(engine) as session:
            session.add(Kept(id=decision.id, route=decision.route, at_s=at_s, line=line))
            session.commit()
        with guard:
            order[0] += 1
            row = Row.decision(line, decision_id=name, route=asked.route, at_s=at_s)
            fold.apply(row._replace(seq=order[0]), decision)
        answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decision_answer(decision, {}, at_s)))
        return answer

    return app


def main(config: str) -> None:
    """Serve the baseline with the settings of a file, beside its log."""
    settings = read_settings(Path(config), environment={})
    fold = new_fold()
    for seq, row in enumerate(declared_rows(settings, fold), 1):
        fold.apply(row._replace(seq=seq))
    file = Path(config).with_name("baseline.db")
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30.0})

    @sqlalchemy.event.listens_for(engine, "connect")
    def durable(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    Kept.metadata.create_all(engine)
    listening = bind("127.0.0.1", 0)
    print(f"Baseline listens on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    options = uvicorn.Config(application(fold, engine), log_level="warning", access_log=False)
    uvicorn.Server(options).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[-1])
