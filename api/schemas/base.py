"""What all schemas share: no unknown fields, no conversions, no NaN or infinity.

The examples of the OpenAPI document stand at the fields: a body's example is put together from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")


class Strict(BaseModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class Answer(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QuickAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An answer of a busy address: msgspec encodes it in a fraction of the time, and NaN as null."""


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last.")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Name it in the OpenAPI document, as in ProviderListOut for pages of ProviderOut."""
        return f"{params[0].__name__.removesuffix('Out')}ListOut"


class ProblemOut(QuickAnswer):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: Annotated[
        list[dict[str, str]] | None,
        msgspec.Meta(description="The first ten errors of a body, each with its field and a message."),
    ] = None


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL character: leave it out")
    return text


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\-]{1,128}$"), Field(examples=["order-17"])]
RouteName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9._\-]{0,63}$"),
    Field(examples=["quickstart"]),
]
ProviderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+\-]{0,199}$"), Field(examples=["small"])
]
Pattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@+\-*?\[\]!]{1,200}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:\-]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Note = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_no_nul)]
Usd = Annotated[float, Field(ge=0, le=1e6)]
Seconds = Annotated[float, Field(ge=0, le=1e6)]
Tokens = Annotated[int, Field(ge=0, le=10**9)]


def is_id(text: str) -> bool:
    """Whether a text has the form of an `Id`."""
    return 0 < len(text) <= 128 and text.isascii() and all(char.isalnum() or char in "._:-" for char in text)
