"""A training on an index learns from days of membership alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import torch
from tests.edge.test_stockformer import NEWEST, TINY, features, trained

from bar_fly_trading.stockformer.split import label, samples, split_sessions
from bar_fly_trading.stockformer.windows import panel, restricted

MEMBERS = pl.DataFrame(
    {
        "instrument_id": ["us:S0", "us:S0", "us:S1", "us:S2", "us:NEVER"],
        "start": [date(2018, 1, 1), date(2019, 9, 2), date(2019, 3, 4), date(2010, 1, 1), date(2010, 1, 1)],
        "end": [date(2019, 6, 28), None, date(2019, 12, 31), None, None],
    }
)


def test_a_sample_ends_on_a_day_of_membership_alone() -> None:
    """Every kept sample ends inside a spell of its instrument, every other complete window there is kept; values stay."""
    whole = panel(features(), as_of=NEWEST)
    part = restricted(whole, MEMBERS)
    spells: list[tuple[str, date, date | None]] = list(MEMBERS.iter_rows())
    for t, session in enumerate(whole.sessions):
        for i, instrument in enumerate(whole.instrument_ids):
            inside = any(one == instrument and a <= session and (b is None or session <= b) for one, a, b in spells)
            assert part.complete[t, i] == (whole.complete[t, i] and inside), (session, instrument)
    assert torch.equal(torch.nan_to_num(part.flat), torch.nan_to_num(whole.flat))
    assert part.data_hash() == whole.data_hash()
    split = split_sessions(part)
    found = samples(part, label(part, split), split.training)
    at, of = (numbers.tolist() for numbers in part.place(found.ends.numpy()))
    assert {part.instrument_ids[i] for i in of} == {"us:S0", "us:S1", "us:S2"}
    of_first = [part.sessions[s] for s, i in zip(at, of, strict=True) if i == 0]
    assert of_first and not any(date(2019, 6, 28) < session < date(2019, 9, 2) for session in of_first)


def test_a_training_with_members_is_another_model_on_fewer_samples(tmp_path: Path) -> None:
    """The card counts the members' samples alone and names other data; without members nothing changes."""
    whole, again = trained(tmp_path / "a").card, trained(tmp_path / "b", members=None).card
    part = trained(tmp_path / "c", members=MEMBERS, config=TINY).card
    assert whole.weights_sha256 == again.weights_sha256
    assert 0 < part.samples < whole.samples
    assert part.data_hash != whole.data_hash
