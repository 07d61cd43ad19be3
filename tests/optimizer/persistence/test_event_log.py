import dataclasses
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import decode, encode, read_log
from fairlead.optimizer.types import Decision, DriftAlarm, Feedback, Outcome


def decision(**changes) -> Decision:
    rng = np.random.default_rng(2)
    expected = rng.random((6, 3))
    expected[4, 1] = np.nan
    fields = {
        "id": 'dé\u2028"1',
        "seq": 7,
        "route": "support",
        "providers": ("a", "b/c", "d"),
        "probabilities": np.array([0.1, 0.7, 0.2]),
        "selected": "b/c",
        "features": np.array([0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]),
        "input_tokens": 120.5,
        "expected": expected,
        "ineligible": {"d": "denied by 'd*'"},
        "shadow_price": 0.1 + 0.2,
        "floor": rng.random(3),
        "encoder_version": "e1",
        "model_version": 3,
        "at_s": 1.7e9,
        "task": None,
        "fallback_used": None,
    }
    return Decision(**{**fields, **changes})


OUTCOME = Outcome(decision_id="d", served_provider="a", cost_usd=0.1 + 0.2, output_tokens=5, latency_s=1e-9)
FEEDBACK = Feedback(decision_id="d", value=1 / 3, metric="stars", source="user", revision=2)
ALARM = DriftAlarm(provider="a", quantity="quality", since_seq=3, at_seq=9, before=0.1, after=-1.2)


def assert_same(left, right):
    assert type(left) is type(right)
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert a == b and repr(a) == repr(b), field.name


@pytest.mark.parametrize("event", [decision(), decision(at_s=None, task="sql"), OUTCOME, FEEDBACK, ALARM])
def test_what_is_written_is_what_is_read(event):
    line = encode(event)
    assert line.isascii() and "\n" not in line
    assert_same(decode(line), event)
    assert encode(decode(line)) == line
    assert json.loads(line)["v"] == 1


def test_the_array_bytes_are_little_endian_float64():
    import base64

    text = json.loads(encode(decision()))["probabilities"]
    assert base64.b64decode(text) == struct.pack("<3d", 0.1, 0.7, 0.2)


TEXT = st.text(max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.builds(Feedback, decision_id=TEXT, value=st.none() | FINITE, metric=TEXT, source=TEXT)
    | st.builds(
        Outcome,
        decision_id=TEXT,
        served_provider=TEXT,
        cost_usd=st.none() | st.floats(0, 1e6),
        latency_s=st.none() | st.floats(0, 1e6),
        cached_tokens=st.none() | st.integers(0, 10**9),
        revision=st.integers(-(2**63), 2**63 - 1),
    )
    | st.builds(lambda x, t: decision(features=np.array(x, dtype=np.float64), task=t), st.lists(FINITE), TEXT)
)
def test_every_event_comes_back_to_the_last_bit(event):
    assert_same(decode(encode(event)), event)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_noise_is_refused_in_one_way_only(text):
    with pytest.raises(InvalidInput):
        decode(text)


@pytest.mark.parametrize("event", [decision(), OUTCOME, ALARM])
def test_a_line_cut_anywhere_is_refused(event):
    line = encode(event)
    for end in range(len(line)):
        with pytest.raises(InvalidInput, match="not one whole JSON object"):
            decode(line[:end])


@pytest.mark.parametrize(
    ("event", "changes", "reason"),
    [
        (FEEDBACK, {"v": 2}, "v is 2, and this release reads 1"),
        (FEEDBACK, {"v": True}, "v is True"),
        (FEEDBACK, {"kind": "thanks"}, "kind is 'thanks', not one of decision, outcome"),
        (FEEDBACK, {"kind": ["feedback"]}, "kind is"),
        (FEEDBACK, {"colour": "red"}, "unknown field `colour`"),
        (FEEDBACK, {"value": "0.5"}, "value is '0.5': Expected `float | null`, got `str`"),
        (FEEDBACK, {"value": True}, "value is True: Expected `float | null`, got `bool`"),
        (FEEDBACK, {"value": float("nan")}, "NaN is not a number"),
        (FEEDBACK, {"value": float("inf")}, "Infinity is not a number"),
        (FEEDBACK, {"value": 10**400}, "value is"),
        (FEEDBACK, {"revision": 1.0}, "revision is 1.0: Expected `int`, got `float`"),
        (
            FEEDBACK,
            {"revision": 2**63},
            "revision is 9223372036854775808: Expected `int` <= 92233720368",
        ),
        (FEEDBACK, {"source": None}, "source is None: Expected `str`, got `null`"),
        (OUTCOME, {"cost_usd": -1.0}, "cost_usd is -1, outside"),
        (OUTCOME, {"status": "fine"}, "status is 'fine'"),
        (OUTCOME, {"input_tokens": 10**12}, "input_tokens is"),
        (decision(), {"providers": "abc"}, "providers is 'abc': Expected `array`, got `str`"),
        (decision(), {"providers": ["a", "b/c"]}, "expected has 18 numbers, not 6 for each of 2"),
        (decision(), {"selected": "z"}, "'z' is selected and not one of its providers"),
        (decision(), {"probabilities": "AAAA"}, "probabilities has 3 bytes, which are no array"),
        (decision(), {"probabilities": "AAAAAAAAAAA="}, "probabilities is float64 of shape"),
        (decision(), {"features": "?"}, r"features is '\?': Invalid base64"),
        (decision(), {"features": [0.5]}, r"features is \[0\.5\]: Expected `bytes`, got `array`"),
        (decision(), {"features": "AAAAAAAA+H8="}, "features holds a number that is not finite"),
        (decision(), {"ineligible": ["d"]}, r"ineligible is \['d'\]: Expected `object`, got `array`"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_the_reason(event, changes, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        decode(json.dumps({**json.loads(encode(event)), **changes}))
    excerpt = str(caught.value).split(" is no event: ")[0]
    assert len(excerpt) <= 80
    assert str(caught.value).endswith("mend the line, or leave it out, and read the log again")


def test_a_decision_that_is_numbered_by_its_place_is_otherwise_the_one_that_was_logged():
    logged = decision(on_trial={"a": "new"}, relaxed=("max_latency_s",))
    numbered = decode(encode(logged), seq=31)
    for field in dataclasses.fields(Decision):
        expected = 31 if field.name == "seq" else getattr(logged, field.name)
        np.testing.assert_array_equal(getattr(numbered, field.name), expected, strict=True)


def test_missing_and_repeated_fields_and_other_json_are_refused():
    fields = json.loads(encode(FEEDBACK))
    del fields["source"]
    with pytest.raises(InvalidInput, match="missing required field `source`"):
        decode(json.dumps(fields))
    with pytest.raises(InvalidInput, match="occurs twice"):
        decode(encode(FEEDBACK).replace("{", '{"value":0.9,'))
    # However it is written: with space where the quick reader expects none, and inside of an object.
    for twice in (*(f'{{"value"{space}:0.9,' for space in " \t\n\r"), '{ "value":0.9, '):
        with pytest.raises(InvalidInput, match="occurs twice"):
            decode(encode(FEEDBACK).replace("{", twice))
    with pytest.raises(InvalidInput, match="occurs twice"):
        decode(encode(decision(ineligible={"a": "x"})).replace('{"a":"x"}', '{"a":"x","a":"y"}'))
    for line in ("", "[]", "3", "null", "[" * 100_000, '{"v":1e999}', encode(ALARM) + encode(ALARM)):
        with pytest.raises(InvalidInput, match="is no event"):
            decode(line)


@pytest.mark.parametrize(
    "event",
    [
        decision(features=np.array([np.nan])),
        decision(probabilities=np.array([0.5, 0.5])),
        decision(floor=np.zeros(3, dtype=np.float32)),
        decision(shadow_price=float("inf")),
        decision(seq=1.5),
        decision(task=3),
        decision(selected="z"),
        dataclasses.replace(ALARM, before=float("nan")),
        "feedback",
    ],
)
def test_what_could_not_be_read_again_is_not_written(event):
    with pytest.raises(InvalidInput, match="cannot be logged"):
        encode(event)


def test_numbers_of_numpy_are_written_like_those_of_python():
    event = decision(seq=np.int64(4), shadow_price=np.float64(0.1))
    assert encode(event) == encode(decision(seq=4, shadow_price=0.1))


def test_a_file_is_read_event_by_event(tmp_path):
    path = tmp_path / "log.jsonl"
    events = [decision(), OUTCOME, FEEDBACK, ALARM]
    path.write_text("".join(encode(event) + "\n" for event in events))
    for event_read, event in zip(read_log(path), events, strict=True):
        assert_same(event_read, event)


def test_a_bad_line_is_named_by_file_and_number(tmp_path):
    path = tmp_path / "log.jsonl"
    for bad in ("{", "", '{"v":1,"kind":"thanks"}', "\xff"):
        path.write_bytes(f"{encode(OUTCOME)}\n{bad}\n{encode(ALARM)}\n".encode("latin-1"))
        events = read_log(path)
        assert next(events) == OUTCOME
        with pytest.raises(InvalidInput, match=r"log\.jsonl, line 2: .* is no event"):
            next(events)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_whole_last_line_counts_with_or_without_its_line_break(tmp_path, end):
    path = tmp_path / "log.jsonl"
    path.write_text(encode(OUTCOME) + "\n" + encode(ALARM) + end)
    said = []
    assert list(read_log(path, on_partial=said.append)) == [OUTCOME, ALARM]
    assert said == []


def test_a_last_line_cut_anywhere_is_left_out_and_said_so(tmp_path):
    path = tmp_path / "log.jsonl"
    whole, last = encode(OUTCOME) + "\n", encode(FEEDBACK)
    for end in range(1, len(last)):
        path.write_text(whole + last[:end])
        said = []
        assert list(read_log(path, on_partial=said.append)) == [OUTCOME]
        assert len(said) == 1 and "line 2" in said[0] and "cut short" in said[0]
    assert list(read_log(path)) == [OUTCOME]
    path.write_bytes(whole.encode() + bytes(100))
    assert list(read_log(path)) == [OUTCOME]


def test_a_whole_last_line_that_is_no_event_is_an_error(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"v":1,"kind":"thanks"}')
    with pytest.raises(InvalidInput, match="line 1"):
        list(read_log(path))


def test_text_that_could_not_be_written_again_is_refused():
    for sign in ("\\ud800", "\ud800"):
        with pytest.raises(InvalidInput, match="surrogate"):
            decode(encode(FEEDBACK).replace("stars", sign))


PIECES = ["", "0", "-", ".5", "e400", '"', "null", "true", " ", "\\u0000", "=", "A", "é"]
LINES = [encode(event) for event in (decision(), decision(at_s=None, task="sql"), OUTCOME, FEEDBACK, ALARM)]


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(LINES), st.data())
def test_a_line_that_was_changed_is_refused_or_says_what_json_says(line, data):
    at = data.draw(st.integers(0, len(line) - 1))
    gone = data.draw(st.integers(0, 3))
    changed = line[:at] + data.draw(st.sampled_from(PIECES)) + line[at + gone :]
    try:
        event = decode(changed)
    except InvalidInput:
        return
    assert json.loads(encode(event)) == json.loads(changed)


@pytest.mark.parametrize("line", LINES)
def test_spaces_change_nothing_and_a_seq_from_outside_counts(line):
    assert_same(decode(json.dumps(json.loads(line))), decode(line))
    event = decode(line, seq=5)
    name = {Decision: "seq", Outcome: "revision", Feedback: "revision"}.get(type(event))
    assert_same(event, decode(line) if name is None else dataclasses.replace(decode(line), **{name: 5}))
