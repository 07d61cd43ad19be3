"""Settings of the service: a YAML file with the environment on top. Nothing is read at import.

Every setting can be given as ``FAIRLEAD_NAME`` in the environment, which wins over the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fairlead.api.schemas.base import Strict
from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.schemas.declarations import PriceIn, ProviderIn, RouteIn
from fairlead.optimizer.errors import InvalidInput

PREFIX: Final = "FAIRLEAD_"
DEFAULT_FILE: Final = "fairlead.yaml"
CONFIG_VARIABLE: Final = "FAIRLEAD_CONFIG"
_OTHER_VARIABLES: Final = {CONFIG_VARIABLE, "FAIRLEAD_DATA", "FAIRLEAD_API_KEY"}

Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Declared(Strict):
    """What a settings file declares, to be created at startup."""

    providers: tuple[ProviderIn, ...] = ()
    prices: tuple[PriceIn, ...] = ()
    routes: tuple[RouteIn, ...] = ()
    budgets: tuple[SharedBudgetIn, ...] = ()


_DECLARED: Final = frozenset(Declared.model_fields)


class Settings(BaseSettings):
    """All settings of one process of the service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_parse_none_str="null"
    )

    database_url: str = Field(
        default="sqlite:///fairlead.db",
        description="The log: sqlite:///FILE for one process, postgresql://USER@HOST/DATABASE for several.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Without API keys it must be a loopback address.",
    )
    port: int = Field(default=8300, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    durability: Literal["full", "relaxed"] = Field(
        default="full",
        description="full: answered once the event is on disk. relaxed: answered at once and written "
        "within 20 ms; a crash can lose the events of that time.",
    )
    state_dir: Path = Field(
        default=Path("fairlead-state"),
        description="Folder for snapshots. A cache: it may be deleted at any time.",
    )
    store_prompts: bool = Field(
        default=False, description="Keep the text of prompts in the log. Features are always kept."
    )
    text_features: bool = Field(
        default=True,
        description="Learn features of texts from counts of terms, which are hashed with a key and kept "
        "in the log. false: neither counted nor kept.",
    )
    text_key_file: Path | None = Field(
        default=None,
        description="File of that key. Made at the first start, beside a SQLite log as FILE.key; several "
        "processes of one log need the same key, and without a file they learn no features of texts.",
    )
    snapshot_every_s: Seconds = Field(
        default=300.0, description="Seconds between snapshots, which a separate process takes."
    )
    retention_days: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Days for which events are kept; after that only what was learned from them and sums by "
        "day remain. Without it nothing is removed.",
    )
    poll_s: Seconds = Field(
        default=1.0,
        description="Seconds between checks for events that other processes wrote and for prices that become "
        "effective.",
    )
    parked_wait_s: Seconds = Field(
        default=3600.0,
        description="Seconds that an outcome or feedback waits for a decision that is still unknown.",
    )
    parked_limit: Count = Field(
        default=10_000,
        description="Maximum number of outcomes and feedback that wait; beyond it the oldest is dropped.",
    )
    queue_limit: Count = Field(
        default=2_000,
        description="Maximum number of events that wait to be written; beyond it requests get 503.",
    )
    max_in_flight: Count = Field(
        default=100, description="Maximum number of requests in flight; beyond it requests get 503."
    )
    max_body_bytes: Count = Field(default=1_048_576, description="Maximum size of a request body.")
    max_batch: Count = Field(default=100, description="Maximum number of items in a batch.")
    request_timeout_s: Seconds = Field(
        default=10.0, description="Seconds that a request may take, including the time to receive its body."
    )
    header_timeout_s: Seconds = Field(
        default=10.0, description="Seconds within which a connection must send the headers of a request."
    )
    shutdown_timeout_s: Seconds = Field(
        default=15.0, description="Seconds that requests in flight may still take at shutdown."
    )
    requests_per_s: float = Field(
        default=5_000.0,
        ge=1e-6,
        le=1e6,
        allow_inf_nan=False,
        description="Requests per second of one key, unless the key has its own limit.",
    )
    feedback_per_decision: Count = Field(
        default=50, description="Maximum number of feedback events on one decision from one key."
    )
    feedback_per_minute: Count = Field(
        default=300_000,
        description="Maximum number of feedback events per minute from one key, unless it has its own limit.",
    )
    outcomes_per_decision: Count = Field(
        default=10, description="Maximum number of outcomes of one decision from one key."
    )
    outcomes_per_minute: Count = Field(
        default=300_000,
        description="Maximum number of outcomes per minute from one key, unless it has its own limit.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much the process logs on stderr; never prompts, keys or bodies."
    )
    providers: tuple[ProviderIn, ...] = Field(
        default=(), description="Providers to create at startup. Later changes by the API stay."
    )
    prices: tuple[PriceIn, ...] = Field(default=(), description="Price lists to create at startup.")
    routes: tuple[RouteIn, ...] = Field(default=(), description="Routes to create at startup.")
    budgets: tuple[SharedBudgetIn, ...] = Field(
        default=(), description="Budgets that routes share, to create at startup."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would read it as 1: `retention_days: yes` would remove all but a day of the log.
        if isinstance(value, bool) and info.field_name not in ("store_prompts", "text_features"):
            raise ValueError("is true or false, which this setting does not accept")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings


def read_settings(path: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a file and of the environment; `InvalidInput` says what is wrong and where.

    Without ``path`` the file is the one that FAIRLEAD_CONFIG names, or fairlead.yaml if that exists.
    """
    variables = os.environ if environment is None else environment
    if path is None and CONFIG_VARIABLE in variables:
        path = Path(variables[CONFIG_VARIABLE])
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    names = Settings.model_fields.keys() - _DECLARED
    allowed = {PREFIX + name.upper() for name in names} | _OTHER_VARIABLES
    own = [name for name in variables if name.upper().startswith(PREFIX)]
    if unknown := sorted(name for name in own if name.upper() not in allowed):
        raise InvalidInput(f"the environment sets {unknown[0]}, which is not a setting: check its spelling")
    content = {} if path is None else _read_file(path)
    declared = {name: content.pop(name) for name in _DECLARED if name in content}
    try:
        # As JSON, in which a list is valid for a tuple: the schemas convert nothing else.
        entries = Declared.model_validate_json(json.dumps(declared, default=_date_text))
        return Settings(**content, **dict(entries))
    except ValidationError as error:
        raise InvalidInput(_reason(error, path)) from None
    except ValueError as error:  # a variable that should hold a list and is no JSON
        raise InvalidInput(f"a setting of the environment cannot be read: {error}") from None


def _date_text(value: object) -> str:
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    raise InvalidInput(f"{value!r} is neither text nor a number: write it in quotes")


def _reason(error: ValidationError, path: Path | None) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    where = f"{path}: " if path is not None else ""
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}{name} is not a setting: check its spelling, or leave it out{more}"
    return f"{where}{name}: {first['msg']}: correct it{more}"


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice; plain YAML would silently keep the last value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is resolved: the keys that it brings in may well be set again.
        node = super().compose_mapping_node(anchor)
        names = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            raise yaml.composer.ComposerError(None, None, "a key occurs twice", node.start_mark)
        return node


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file: write one with `fairlead init`") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}): name a settings file") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from None
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is incomplete"
        raise InvalidInput(f"{path}: not valid YAML{line} ({problem}): correct it") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidInput(f"{path}: has no settings: write them as `name: value`")
    return content
