"""Quantities: what is read, what is refused, and that printing and reading back gives the same."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.spec import quantities
from stream_orchestrator.spec.quantities import (
    BadQuantity,
    Comparison,
    Condition,
    Cpu,
    Duration,
    Money,
    Number,
    Rate,
    Share,
    Size,
    Threshold,
    TrafficStep,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (3600, 3600),
        (0.25, 0.25),
        ("3600", 3600),
        ("1 hour", 3600),
        ("90 days", 90 * 86_400),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1h 30 min", 5400),
        ("1 hour and 2 minutes", 3720),
        ("1 day, 2 hours", 93_600),
        ("2 weeks", 14 * 86_400),
        ("1.5 hours", 5400),
        ("1,000 seconds", 1000),
        ("5 MINUTES", 300),
        ("250us", 0.00025),
        (0, 0),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert quantities.duration(text) == Duration(seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5 parsecs", "there is no unit `parsecs`"),
        ("1 month", "there is no unit `month`"),
        ("30m1h", "units go from large to small"),
        ("1h1h", "units go from large to small"),
        (-1, "negative"),
        ("-1 hour", "is not a duration"),
        (True, "`true` is not a duration"),
        (None, "nothing is not a duration"),
        ([1], "a list is not a duration"),
        ("", "is not a duration"),
        ("1 and", "there is no unit"),
        ("soon", "is not a duration"),
        ("PT5M", "is not a duration"),
        ("10%_for_5_minutes", "is not a duration"),
        ("< 30 seconds", "is not a duration"),
        (float("nan"), "negative or infinite"),
        (float("inf"), "negative or infinite"),
        ("200 years", "there is no unit `years`"),
        ("99999 days", "longer than a hundred years"),
        ("９ seconds", "is not a duration"),
        ("1" * 600, "is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_forms_that_are(text, said):
    with pytest.raises(BadQuantity, match=said) as raised:
        quantities.duration(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10MB", 10_000_000),
        ("10 mb", 10_000_000),
        ("1GB", 10**9),
        ("1 GiB", 2**30),
        ("512KiB", 2**19),
        ("512Mi", 2**29),
        ("1.5kB", 1500),
        ("7 bytes", 7),
        (1000, 1000),
        ("1000", 1000),
    ],
)
def test_a_size_is_read(text, size):
    assert quantities.size(text) == Size(size)


@pytest.mark.parametrize("text", ["512M", "1.5B", "0.3", "10 minutes", "big", -1, True, None, "99999999 TB", "1GB 2MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BadQuantity, match=r"size|bytes"):
        quantities.size(text)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (quantities.rate, "1 request/second", Rate(1, "request", "second")),
        (quantities.rate, "5 requests/second", Rate(5, "request", "second")),
        (quantities.rate, "100/minute", Rate(100, "", "minute")),
        (quantities.rate, "5 calls per hour", Rate(5, "call", "hour")),
        (quantities.money, "$1000/month", Money(1000, "month")),
        (quantities.money, "$1,000.50 per day", Money(1000.5, "day")),
        (quantities.money, "$0.50", Money(0.5)),
        (quantities.money, "20 USD/year", Money(20, "year")),
        (quantities.money, 100, Money(100)),
        (quantities.share, "5%", Share(0.05)),
        (quantities.share, 0.05, Share(0.05)),
        (quantities.share, "0.9", Share(0.9)),
        (quantities.share, "100%", Share(1)),
        (quantities.cpu, "1 core", Cpu(1)),
        (quantities.cpu, "500m", Cpu(0.5)),
        (quantities.cpu, 2, Cpu(2)),
        (quantities.threshold, "< 30 seconds", Threshold("<", Duration(30))),
        (quantities.threshold, ">= 0.7", Threshold(">=", Number(0.7))),
        (quantities.threshold, "<5%", Threshold("<", Share(0.05))),
        (quantities.threshold, "< 1GB", Threshold("<", Size(10**9))),
        (quantities.threshold, "= 3", Threshold("==", Number(3))),
        (quantities.threshold, "> $100", Threshold(">", Money(100))),
        (quantities.threshold, "< 80%", Threshold("<", Share(0.8))),
        (quantities.threshold, "> 2 requests/second", Threshold(">", Rate(2, "request", "second"))),
        (quantities.traffic_step, "10%_for_5_minutes", TrafficStep(Share(0.1), Duration(300))),
        (quantities.traffic_step, "100%_if_healthy", TrafficStep(Share(1))),
    ],
)
def test_the_other_kinds_are_read(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (quantities.rate, "1 banana/second"),
        (quantities.rate, "1 request"),
        (quantities.rate, "fast"),
        (quantities.money, "€5"),
        (quantities.money, "$5 USD"),
        (quantities.money, "$5/fortnight"),
        (quantities.money, True),
        (quantities.share, 5),
        (quantities.share, "150%"),
        (quantities.share, "%"),
        (quantities.share, "half"),
        (quantities.cpu, "1 kernel"),
        (quantities.threshold, "30 seconds"),
        (quantities.threshold, "< soon"),
        (quantities.threshold, "<"),
        (quantities.threshold, 3),
        (quantities.condition, "error_rate"),
        (quantities.condition, "> 5%"),
        (quantities.condition, "a > 1 and"),
        (quantities.condition, "a > 1 xor b > 2"),
        (quantities.condition, "and > 5"),
        (quantities.traffic_step, "10% for"),
        (quantities.traffic_step, "10_for_5_minutes"),
        (quantities.traffic_step, "110%_if_healthy"),
        (quantities.quantity, {}),
    ],
)
def test_what_is_not_of_a_kind_is_refused_with_a_hint(parse, text):
    with pytest.raises(BadQuantity) as raised:
        parse(text)
    assert raised.value.hint


def test_and_binds_tighter_than_or():
    found = quantities.condition("error_rate > 5% and latency > 2 seconds OR hourly_cost > $100")
    assert found == Condition(
        (
            (
                Comparison("error_rate", Threshold(">", Share(0.05))),
                Comparison("latency", Threshold(">", Duration(2))),
            ),
            (Comparison("hourly_cost", Threshold(">", Money(100))),),
        )
    )
    assert found.metrics == ("error_rate", "latency", "hourly_cost")
    measured = {"error_rate": 0.06, "latency": 1.0, "hourly_cost": 0.0}
    assert not found.holds(measured.__getitem__)
    assert found.holds({**measured, "latency": 3.0}.__getitem__)
    assert found.holds({**measured, "hourly_cost": 101.0}.__getitem__)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("(a > 1 or b > 2) and c > 3", "(a > 1 or b > 2) and c > 3"),
        ("a > 1 and (b > 2 OR (c > 3 and d > 4))", "a > 1 and (b > 2 or c > 3 and d > 4)"),
        ("((a > 1))", "a > 1"),
        ("(a > 1 and b > 2) and c > 3", "a > 1 and b > 2 and c > 3"),
        ("(a > 1 or b > 2) or c > 3", "a > 1 or b > 2 or c > 3"),
        ("(a > 1 and b > 2) or c > 3", "a > 1 and b > 2 or c > 3"),
        ("or_rate > 1 and x.and > 2", "or_rate > 1 and x.and > 2"),
    ],
)
def test_parentheses_stay_where_they_mean_something(text, printed):
    found = quantities.condition(text)
    assert str(found) == printed
    assert quantities.condition(printed) == found


@pytest.mark.parametrize(
    "text",
    [
        "(a > 1",
        "a > 1)",
        "()",
        "(a > 1) b > 2",
        "a > 1 and (or b > 2)",
        "a > 1 and and b > 2",
        "(" * 30 + "a > 1" + ")" * 30,
    ],
)
def test_a_condition_whose_parentheses_or_joints_are_wrong_is_refused(text):
    with pytest.raises(BadQuantity, match="is not a condition"):
        quantities.condition(text)


TRUTHS = st.fixed_dictionaries({name: st.booleans() for name in "abcd"})
EXPRESSIONS = st.recursive(
    st.sampled_from("abcd"),
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda part: "({} {} {})".format(*part)),
    max_leaves=8,
)


@given(EXPRESSIONS, TRUTHS)
def test_a_condition_holds_when_logic_says_so(expression, truths):
    text = re.sub(r"\b([abcd])\b", r"\1 > 0", expression)
    found = quantities.condition(text)
    assert found.holds(lambda name: float(truths[name])) is eval(expression, {}, truths)
    assert quantities.condition(str(found)) == found


@pytest.mark.parametrize(
    ("text", "measured", "kept"),
    [
        ("< 30 seconds", 29.9, True),
        ("< 30 seconds", 30, False),
        (">= 0.7", 0.7, True),
        ("!= 3", 3, False),
        ("= 3", 3, True),
    ],
)
def test_a_threshold_is_kept_or_not(text, measured, kept):
    assert quantities.threshold(text).accepts(measured) is kept


AMOUNTS = st.decimals(0, 10**6, places=4, allow_nan=False).map(float)
DURATIONS = AMOUNTS.map(Duration)
SHARES = st.decimals(0, 1, places=6).map(lambda part: Share(float(part)))
SIZES = st.integers(0, 2**62).map(Size)
RATES = st.builds(Rate, AMOUNTS, st.sampled_from(["", "request", "token"]), st.sampled_from(["second", "month"]))
MONEY = st.builds(Money, AMOUNTS, st.sampled_from([None, "hour", "day", "month", "year"]))
CPUS = AMOUNTS.map(Cpu)
ANY = st.one_of(AMOUNTS.map(Number), DURATIONS, SHARES, SIZES, RATES, MONEY, CPUS)
THRESHOLDS = st.builds(Threshold, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), ANY)
NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,12}", fullmatch=True).filter(lambda name: name not in ("and", "or"))
GROUPS = st.lists(st.builds(Comparison, NAMES, THRESHOLDS), min_size=1, max_size=3).map(tuple)
FLAT = st.lists(GROUPS, min_size=1, max_size=2).map(tuple).map(Condition)
CONDITIONS = st.recursive(
    FLAT,
    lambda inner: st.lists(
        st.lists(st.builds(Comparison, NAMES, THRESHOLDS) | inner, min_size=1, max_size=3).map(tuple),
        min_size=1,
        max_size=2,
    ).map(Condition.of),
    max_leaves=4,
).filter(lambda condition: len(str(condition)) <= 4000)
STEPS = st.builds(TrafficStep, SHARES, st.none() | DURATIONS)


@settings(max_examples=300)
@given(
    st.one_of(
        DURATIONS.map(lambda q: (quantities.duration, q)),
        SIZES.map(lambda q: (quantities.size, q)),
        SHARES.map(lambda q: (quantities.share, q)),
        RATES.map(lambda q: (quantities.rate, q)),
        MONEY.map(lambda q: (quantities.money, q)),
        CPUS.map(lambda q: (quantities.cpu, q)),
        ANY.map(lambda q: (quantities.quantity, q)),
        THRESHOLDS.map(lambda q: (quantities.threshold, q)),
        CONDITIONS.map(lambda q: (quantities.condition, q)),
        STEPS.map(lambda q: (quantities.traffic_step, q)),
    )
)
def test_printing_and_reading_back_gives_the_same(case):
    parse, value = case
    assert parse(str(value)) == value


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.,%$<>= ()msdhkMGiB/_andorfe", max_size=30))
def test_any_text_is_a_quantity_or_refused(text):
    for parse in (quantities.quantity, quantities.threshold, quantities.condition, quantities.traffic_step):
        with contextlib.suppress(BadQuantity):
            value = parse(text)
            assert parse(str(value)) == value


def test_amounts_are_exact_in_decimal():
    assert quantities.duration("0.1 seconds").seconds == 0.1
    assert quantities.share("7%").value == float(Decimal("0.07"))
