"""Errors say what is wrong and what to do."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import ClassVar

import pytest

from fairlead.optimizer.errors import EXTRA_OF, MissingExtra, require


class _Absent(MetaPathFinder):
    """Makes optional modules look as if they were not installed."""

    names: ClassVar[frozenset[str]] = frozenset(EXTRA_OF)

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.mark.parametrize("module", sorted(EXTRA_OF))
def test_a_missing_extra_is_one_sentence_with_its_remedy(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(module, purpose="this")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    with pytest.raises(MissingExtra) as caught:
        require(module, purpose="this test")
    remedy = f"pip install 'fairlead[{EXTRA_OF[module]}]'"
    assert str(caught.value) == f"this test needs {module}, which is not installed: {remedy}"
    assert caught.value.name == module
