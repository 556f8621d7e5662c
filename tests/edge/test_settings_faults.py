"""Wrong settings: each fault is one clear line that names the file, the key, the value and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.settings import resolve


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fault(
    tmp_path: Path,
    file: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    schema: str = "schema = 1\n",
) -> str:
    """Return the message of the FixSettings that these sources raise."""
    (tmp_path / "settings.toml").write_text(schema + file, encoding="utf-8")
    with pytest.raises(FixSettings) as caught:
        resolve(tmp_path, overrides or {}, environ or {})
    assert caught.value.way_out
    return caught.value.message


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("[gatway]\nport = 1\n", ['unknown name "gatway"', 'Did you mean "gateway"?']),
        ("[gateway]\nprot = 1\n", ['unknown name "prot" in [gateway]', 'Did you mean "port"?']),
        ("zzz = 1\n", ['unknown name "zzz".']),
        ('[gateway]\nport = "4002"\n', ["gateway.port", "'4002'", "integer"]),
        ("[gateway]\nport = true\n", ["gateway.port", "True", "integer"]),
        ("[gateway]\nport = 70000\n", ["gateway.port", "70000", "65535"]),
        ("[limits]\npositions_max = 2.5\n", ["limits.positions_max", "2.5", "integer"]),
        ("[limits]\nspread_fraction_max = nan\n", ["limits.spread_fraction_max", "nan"]),
        ("[limits]\nquote_age_s_max = inf\n", ["limits.quote_age_s_max", "inf", "finite"]),
        ("[limits]\ndrift_fraction_max = 0\n", ["limits.drift_fraction_max", "greater than 0"]),
        ("[limits]\ndaily_loss_usd_max = -1000\n", ["daily_loss_usd_max", "positive dollars"]),
        ('[limits]\ndaily_loss_usd_max = "1000"\n', ["daily_loss_usd_max", "a number"]),
        ("[limits]\ndaily_loss_usd_max = inf\n", ["daily_loss_usd_max", "finite"]),
        ("[limits]\nposition_fraction_max = 5\n", ["position_fraction_max", "500 %", "0.05"]),
        ("[limits]\nexit_spread_fraction_max = 0.001\n", ["exit_spread_fraction_max"]),
        ('[live]\nenable = "true"\n', ["live.enable", "boolean"]),
        ('[data]\nsymbols = "AAPL"\n', ["data.symbols", "a list"]),
        ("[data]\nsymbols = [1]\n", ["data.symbols 0", "string"]),
        ("[mail]\nrecipients = ['not an address']\n", ["mail.recipients", "no mail address"]),
        ("[mail]\nrecipients = ['a@b.c\\nBcc: x@y.z']\n".replace("'", '"'), ["mail.recipients", "no mail address"]),
        ('[mail]\nsecurity = "none"\npassword = "p"\n', ["no password is sent over plain text"]),
        ('[mail]\nserver = "h:465"\nport = 587\n', ["465", "587", "keep one"]),
        ('[mail]\nsecurity = "ssl"\n', ["mail.security", "starttls"]),
        ('[strategies.bolinger]\nmode = "paper"\n', ['unknown name "bolinger"', 'Did you mean "bollinger"?']),
        ('[strategies.bollinger]\nmod = "paper"\n', ['unknown name "mod"', 'Did you mean "mode"?']),
        ('[strategies.bollinger]\nmode = "real"\n', ["strategies.bollinger.mode", "'shadow'", "'paper'"]),
        ("[strategies]\nbollinger = 1\n", ["strategies.bollinger = 1", "expected a table"]),
        ("gateway = 4002\n", ["gateway = 4002", "expected a table"]),
        ("[ranking.weights]\nstrenght = 1.0\n", ["ranking.weights", "'strength'"]),
        ("[ranking.weights]\nstrength = -1.0\n", ["ranking.weights strength", "greater than or equal to 0"]),
        ("[[combine]]\nname = 'c'\nmembers = ['nobody']\n", ['combine "c"', "nobody", "no strategy"]),
        ("[[combine]]\nmembers = ['bollinger']\n", ["combine", "0.name is missing"]),
        ("[schedule]\nextra_closures = ['2026-13-01']\n", ["schedule.extra_closures 0", "date"]),
    ],
)
def test_a_wrong_file(tmp_path: Path, file: str, words: list[str]) -> None:
    """The message names the file, the key, the value and what was expected."""
    message = fault(tmp_path, file)
    for word in words:
        assert word in message, message
    assert "\n" not in message


def test_the_file_is_named_and_every_fault_is_listed(tmp_path: Path) -> None:
    """One run tells all faults of all sources, each with where it is."""
    message = fault(
        tmp_path,
        "[gatway]\nx = 1\n[limits]\npositions_max = 0\nposition_fraction_max = 5\n",
        {"BFT_GATEWAY__PORT": "abc"},
    )
    lines = message.splitlines()
    assert len(lines) == 4
    assert sum(line.startswith(str(tmp_path / "settings.toml")) for line in lines) == 3
    assert any(line.startswith('environment BFT_GATEWAY__PORT: "abc" is wrong for gateway.port') for line in lines)


@pytest.mark.parametrize("schema", ["", "schema = 2\n", 'schema = "1"\n', "schema = true\n"])
def test_another_schema_is_refused(tmp_path: Path, schema: str) -> None:
    """A file without `schema = 1` is not read as if it had it."""
    assert "this version reads schema 1" in fault(tmp_path, "", schema=schema)


def test_a_file_that_is_no_toml_or_no_text(tmp_path: Path) -> None:
    """A broken file is named with its line; bytes that are no UTF-8 are refused."""
    assert "line 2" in fault(tmp_path, "[gateway\n")
    (tmp_path / "settings.toml").write_bytes(b"schema = 1\n# \xff\n")
    with pytest.raises(FixSettings, match="not UTF-8"):
        resolve(tmp_path, {}, {})
    (tmp_path / "settings.toml").unlink()
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(FixSettings, match="cannot be read"):
        resolve(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("IBKR_MAX_DAILY_LOSS", "-1000", ["positive dollars", "1000"]),
        ("IBKR_MAX_DAILY_LOSS", "0", ["greater than 0"]),
        ("IBKR_MAX_DAILY_LOSS", "1,000", ["IBKR_MAX_DAILY_LOSS", "1,000"]),
        ("IBKR_MAX_DAILY_LOSS", "NaN", ["finite"]),
        ("IBKR_MAX_POSITION_PCT", "5", ["500 %", "0.05"]),
        ("IBKR_MAX_POSITION_PCT", "1.01", ["101 %"]),
        ("IBKR_MAX_POSITION_PCT", "5%", ["IBKR_MAX_POSITION_PCT", "5%"]),
        ("IBKR_MAX_POSITION_PCT", "inf", ["IBKR_MAX_POSITION_PCT"]),
        ("IBKR_MAX_POSITION_PCT", "0", ["greater than 0"]),
        ("IBKR_ENABLE_LIVE_TRADING", "True", ["only the word true"]),
        ("IBKR_ENABLE_LIVE_TRADING", "1", ["only the word true"]),
        ("IBKR_ENABLE_LIVE_TRADING", "yes", ["only the word true"]),
        ("BFT_LIVE__ENABLE", "TRUE", ["only the word true"]),
        ("IBKR_SMTP_SERVER", "h:x", ["no port"]),
        ("IBKR_SMTP_SERVER", "smtp://h", ["no host"]),
        ("IBKR_SMTP_PORT", "x", ["IBKR_SMTP_PORT"]),
        ("IBKR_NOTIFY_EMAIL", "a@b.c;d@e.f", ["no mail address"]),
    ],
)
def test_a_wrong_variable(tmp_path: Path, name: str, value: str, words: list[str]) -> None:
    """A variable that could be misread is refused with its name or an explanation."""
    message = fault(tmp_path, environ={name: value})
    for word in words:
        assert word in message, message


def test_only_the_word_true_enables_live(tmp_path: Path) -> None:
    """`true` is taken, and `false` too."""
    assert resolve(tmp_path, {}, {"IBKR_ENABLE_LIVE_TRADING": "true"}).settings.live.enable is True
    assert resolve(tmp_path, {}, {"IBKR_ENABLE_LIVE_TRADING": "false"}).settings.live.enable is False


def test_two_names_that_disagree_are_refused(tmp_path: Path) -> None:
    """Two names of one limit with two values: neither is guessed; with one value they pass."""
    both = {"IBKR_MAX_DAILY_LOSS": "500", "BFT_LIMITS__DAILY_LOSS_USD_MAX": "900"}
    assert "disagree about limits.daily_loss_usd_max" in fault(tmp_path, environ=both)
    both["BFT_LIMITS__DAILY_LOSS_USD_MAX"] = "500.0"
    assert resolve(tmp_path, {}, both).settings.limits.daily_loss_usd_max == 500
    assert "disagree about mail.port" in fault(tmp_path, environ={"IBKR_SMTP_SERVER": "h:25", "IBKR_SMTP_PORT": "26"})


def test_a_wrong_command_line(tmp_path: Path) -> None:
    """The command line's settings are refused by name and by type."""
    assert 'unknown setting "gateway.prot". Did you mean "gateway.port"?' in fault(
        tmp_path, overrides={"gateway.prot": 1}
    )
    assert "command line gateway.port" in fault(tmp_path, overrides={"gateway.port": "x"})
    assert "command line: gateway.port = 0 is wrong" in fault(tmp_path, overrides={"gateway.port": 0})


def test_a_wrong_secret_is_not_shown(tmp_path: Path) -> None:
    """A secret of the wrong type is refused without its value."""
    message = fault(tmp_path, "[mail]\npassword = 12345678\n")
    assert "mail.password = ********" in message
    assert "12345678" not in message
