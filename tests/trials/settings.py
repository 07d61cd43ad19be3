"""Settings of the service under trial: one route on vectors, small enough to be folded many times."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from fairlead.api.settings import Settings, read_settings

WIDTH: Final = 6
ROUTE: Final = "trial"
PROVIDERS: Final = ("a/small", "b/middle", "c/large")
_USD_PER_MTOK: Final = {"a/small": 0.2, "b/middle": 1.0, "c/large": 8.0}
BUDGET_USD: Final = 0.001


def read_back(content: dict[str, Any], folder: Path) -> Settings:
    """Write these settings to a file in ``folder`` and read them as the service does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fairlead.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_settings(path, environment={})


def settings(folder: Path, url: str | None = None, **more: Any) -> dict[str, Any]:
    """Return settings for files in ``folder``, with the log at ``url`` or in a SQLite file there."""
    return {
        "database_url": url or f"sqlite:///{folder.absolute()}/log.db",
        "state_dir": str(folder.absolute() / "state"),
        "poll_s": 0.2,
        "requests_per_s": 1_000_000.0,
        "feedback_per_minute": 100_000_000,
        "outcomes_per_minute": 100_000_000,
        "providers": [{"name": name} for name in PROVIDERS],
        "prices": [
            {"provider": name, "input_usd_per_mtok": usd, "output_usd_per_mtok": 4.0 * usd}
            for name, usd in _USD_PER_MTOK.items()
        ],
        "routes": [
            {
                "name": ROUTE,
                "providers": list(PROVIDERS),
                "features": {"vector": WIDTH},
                "budget": {"usd_per_request": BUDGET_USD},
                "max_open_decisions": 10_000_000,
                "metrics": [{"name": "quality"}, {"name": "tone", "low": -1.0, "high": 1.0, "weight": 0.5}],
            }
        ],
        **more,
    }
