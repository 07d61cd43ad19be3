"""`fairlead fit-features`: every kind of file, and every prompt that nothing can be learned from."""

import json
from pathlib import Path

import pytest

from fairlead.optimizer.features import TextProjection
from tests.api.cli.command_line import assert_refused, run

KINDS = ("Write a function in Python that sorts a list", "Translate into French: the parcel is late")


def test_features_are_fitted_from_every_kind_of_file(tmp_path: Path) -> None:
    prompts = [f"{KINDS[i % 2]} number {i}" for i in range(40)]
    (tmp_path / "p.txt").write_text("\n".join(prompts), encoding="utf-8")
    lines = "\n".join(json.dumps({"prompt": prompt}) for prompt in prompts)
    (tmp_path / "p.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "p.csv").write_text("\n".join(["text", *map(json.dumps, prompts)]), encoding="utf-8")
    versions = set()
    for name, options in (("p.txt", ()), ("p.jsonl", ()), ("p.csv", ("--column", "text"))):
        out = tmp_path / "features.npz"
        result = run("fit-features", tmp_path / name, "--out", out, "--width", 4, *options)
        assert result.exit_code == 0, result.output
        versions.add(TextProjection.load(out).version)
    assert len(versions) == 1


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("p.txt", "", (), "is empty"),
        ("p.txt", "one\ntwo", (), "prompts"),
        ("p.doc", "one", (), "unknown suffix"),
        ("p.csv", "text\none", (), "no column 'prompt'"),
        ("p.jsonl", "{nonsense", (), "cannot be read"),
        ("p.jsonl", '{"prompt": 3}', (), "not text"),
        ("p.txt", "one\ntwo", ("--width", "0"), "width"),
    ],
)
def test_prompts_that_cannot_be_learned_from_get_one_sentence(
    tmp_path: Path, *, name: str, content: str, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert_refused(run("fit-features", tmp_path / name, "--out", tmp_path / "f.npz", *options), said)
    assert_refused(run("fit-features", tmp_path / "absent.txt", "--out", tmp_path / "f.npz"), "no such file")
    assert not (tmp_path / "f.npz").exists()
