"""Why a strategy said nothing about a stock: its stored features beside the thresholds of that day. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def no_signal(
    signalled: Collection[str],
    rules: Mapping[str, Any] | None,
    features: Sequence[Row] | None,
    prediction: Row | None,
    predictions: int,
) -> Iterator[str]:
    """Say for every strategy that gave no signal why it gave none; `predictions`: how many the evening had."""
    if rules is None:
        if not signalled:
            yield "no signal; which strategies ran, and by which numbers, was not written down by the program of that day"
        return
    for name, numbers in rules["strategies"].items():
        if name in signalled:
            continue
        if features is None:
            yield f"no signal by {name}; the feature table of that evening is not kept any more, so not why"
        elif not features:
            yield f"no signal by {name}: the stock is not in that evening's feature table"
        elif name == "bollinger":
            yield f"no signal by bollinger: {_bollinger(features)}"
        elif name == "regression_momentum":
            yield f"no signal by regression_momentum: {_momentum(numbers, features[-1], prediction, predictions)}"
        else:
            yield f"no signal by {name} ({_numbers(numbers)}); the stock's values: {_numbers(features[-1])}"


def _bollinger(features: Sequence[Row]) -> str:
    now = features[-1]
    before = features[-2] if len(features) > 1 else None
    if before is None:
        return "it has no earlier session to cross from"
    wanted = ("chained_close", "bbands_lower_20", "bbands_upper_20")
    missing = [f"{name} of {row['session']}" for row in (before, now) for name in wanted if row.get(name) is None]
    if missing:
        return f"not defined: {', '.join(missing)}"
    words = [f"{_place(row)}" for row in (before, now)]
    closed, low, high = (now[name] for name in wanted)
    was, was_low, was_high = (before[name] for name in wanted)
    if closed <= low and was <= was_low:
        why = "it was at or below the lower band already, so it did not cross it"
    elif closed >= high and was >= was_high:
        why = "it was at or above the upper band already, so it did not cross it"
    elif low < closed < high:
        why = "it closed between its bands"
    else:
        why = "its bands have no width"
    return f"{why} ({'; '.join(words)})"


def _place(row: Row) -> str:
    """Put a close beside its bands, in the dollars of its day."""
    scale = row["close"] / row["chained_close"] if row.get("close") and row["chained_close"] else 1.0
    low, high = row["bbands_lower_20"] * scale, row["bbands_upper_20"] * scale
    return f"{row['session']}: close {row['chained_close'] * scale:.2f}, lower band {low:.2f}, upper band {high:.2f}"


def _momentum(numbers: Row, features: Row, prediction: Row | None, predictions: int) -> str:
    if not predictions:
        return "there were no predictions that evening"
    adx = features.get("adx_signal")
    parts = [_against("ADX signal", adx, numbers.get("adx_signal_min"), "at least")]
    if prediction is None:
        return f"the stock has no stored prediction of that evening ({parts[0]})"
    for days in (3, 10):
        limit = numbers.get(f"predicted_return_{days}d_min")
        parts.append(_against(f"predicted {days}-day return", prediction.get(f"return_{days}d"), limit, "above"))
    return "; ".join(parts)


def _against(name: str, value: Any, limit: Any, word: str) -> str:
    said = "not known" if value is None else f"{value:.6g}"
    if limit is None:
        return f"{name} {said}"
    passed = value is not None and (value >= limit if word == "at least" else value > limit)
    return f"{name} {said}, wanted {word} {limit:g}: {'passed' if passed else 'failed'}"


def _numbers(row: Row) -> str:
    return ", ".join(f"{k} {v:.6g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
