"""The shape of a rule: what it looks for in the measured bars, how sure it is, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

BAD, DOUBTFUL, FAULT = "bad", "doubtful", "fault"
SUSPICION_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "instrument_id": pl.String(),
    "session": pl.Date(),
    "rule": pl.String(),
    "observed": pl.String(),
    "severity": pl.String(),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over the measured bars. `severity`: bad keeps the name out for a while, doubtful is only reported."""

    name: str
    severity: str
    hit: pl.Expr
    observed: pl.Expr


def percent(log_ratio: pl.Expr) -> pl.Expr:
    """Return a logarithm of a ratio as text in percent: `-22.0 %`."""
    return pl.format("{} %", ((log_ratio.exp() - 1) * 100).round(1))


def found_by(frame: pl.DataFrame, rules: list[Rule]) -> pl.DataFrame:
    """Return the suspicions of the rules, each in order of rows; null is no hit."""
    marks = frame.select(rule.hit.fill_null(False).alias(str(i)) for i, rule in enumerate(rules))
    found = [pl.DataFrame(schema=SUSPICION_SCHEMA)]
    for i, rule in enumerate(rules):
        hits = frame.filter(marks[str(i)])
        if hits.height:
            found.append(
                hits.select(
                    "row",
                    "instrument_id",
                    "session",
                    rule=pl.lit(rule.name),
                    observed=rule.observed.cast(pl.String),
                    severity=pl.lit(rule.severity),
                )
            )
    return pl.concat(found)
