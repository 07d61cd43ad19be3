"""What all schemas share: nothing unknown, nothing converted, nothing that is not finite."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Strict(BaseModel):
    """A request, or a part of one."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class Answer(BaseModel):
    """What is answered, or a part of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character: leave it out")
    return text


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\-]{1,128}$")]
RouteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9._\-]{0,63}$")]
ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+\-]{0,199}$")]
Pattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@+\-*?\[\]!]{1,200}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:\-]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Note = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_no_nul)]
Usd = Annotated[float, Field(ge=0, le=1e6)]
Seconds = Annotated[float, Field(ge=0, le=1e6)]
Tokens = Annotated[int, Field(ge=0, le=10**9)]


def is_id(text: str) -> bool:
    """Whether this can be an `Id`."""
    return 0 < len(text) <= 128 and text.isascii() and all(sign.isalnum() or sign in "._:-" for sign in text)
