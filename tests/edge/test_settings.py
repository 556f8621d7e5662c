"""The settings: precedence, names, conversions, hash and what is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bar_fly_trading import settings as room
from bar_fly_trading.errors import FixSettings
from bar_fly_trading.settings.model import Criterion, LimitsSection, Ranking, Section, SizingSection
from bar_fly_trading.settings.names import ALIASES, names
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.signal_ranker import CRITERIA, RankingRules

Resolve = Callable[..., room.Resolved]


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Return a resolver of a home in an empty folder, with a current folder beside it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(
        file: str | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        env_home: str | None = None,
        env_here: str | None = None,
    ) -> room.Resolved:
        home = tmp_path / "home"
        for path, text in (
            (home / "settings.toml", file),
            (home / ".env", env_home),
            (here / ".env", env_here),
        ):
            if text is not None:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
                path.chmod(0o600)
        return room.resolve(home, overrides or {}, environ or {})

    return run


def test_an_empty_home_gives_defaults_and_is_not_created(resolve: Resolve, tmp_path: Path) -> None:
    """Every setting has a default, and asking for them writes nothing."""
    found = resolve()
    assert found.settings.gateway.port == 4002
    assert found.source_of("gateway.port") == "default"
    assert found.sources == () and found.warnings == ()
    assert not (tmp_path / "home").exists()


def test_precedence_of_the_five_sources(resolve: Resolve, tmp_path: Path) -> None:
    """Command line over environment over the home's .env over the current folder's over file over default."""
    layers: list[tuple[str, dict[str, object]]] = [
        ("default", {}),
        (str(tmp_path / "home/settings.toml"), {"file": "schema = 1\n[gateway]\nport = 1001\n"}),
        (f"{tmp_path / 'here/.env'} BFT_GATEWAY__PORT", {"env_here": "BFT_GATEWAY__PORT=1002\n"}),
        (f"{tmp_path / 'home/.env'} BFT_GATEWAY__PORT", {"env_home": "BFT_GATEWAY__PORT=1003\n"}),
        ("environment BFT_GATEWAY__PORT", {"environ": {"BFT_GATEWAY__PORT": "1004"}}),
        ("command line", {"overrides": {"gateway.port": 1005}}),
    ]
    given: dict[str, object] = {}
    for number, (source, layer) in enumerate(layers):
        given |= layer
        found = resolve(**given)
        assert found.settings.gateway.port == (4002 if number == 0 else 1000 + number)
        assert found.source_of("gateway.port") == source


def test_bft_home_and_the_flag_move_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag wins over BFT_HOME, BFT_HOME over ~/.bft, and every path lies below the home."""
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path / "user"), "BFT_HOME": "~/elsewhere"}
    assert room.resolve(None, {}, {"HOME": str(tmp_path)}).home.root == tmp_path / ".bft"
    assert room.resolve(None, {}, environ).home.root == tmp_path / "user" / "elsewhere"
    found = room.resolve(Path("flag"), {}, environ)
    assert found.home.root == tmp_path / "flag"
    assert all(path.is_relative_to(tmp_path / "flag") for _, path in found.home.paths())


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A home that cannot hold anything is said at once."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(FixSettings, match="is a file, not a folder"):
        room.resolve(tmp_path / "file", {}, {})


def test_the_older_programs_names(resolve: Resolve) -> None:
    """Each name of the older program fills its setting."""
    found = resolve(
        environ={
            "ALPHAVANTAGE_API_KEY": "KEY-1",
            "IBKR_MAX_DAILY_LOSS": "750.50",
            "IBKR_MAX_POSITION_PCT": "0.04",
            "IBKR_ENABLE_LIVE_TRADING": "false",
            "IBKR_SMTP_SERVER": "smtp.example.com:465",
            "IBKR_SMTP_USER": "me@example.com",
            "IBKR_SMTP_PASSWORD": "p#ss w$rd",
            "IBKR_NOTIFY_EMAIL": "a@example.com, b@example.com",
            "IBKR_TWILIO_SID": "sid",
            "IBKR_TWILIO_TOKEN": "tok",
            "IBKR_TWILIO_FROM": "+15550100",
            "IBKR_NOTIFY_PHONE": "+15550101",
            "IBKR_HOST": "10.0.0.1",
            "IBKR_PORT": "4001",
            "IBKR_CLIENT_ID": "3",
            "IBKR_ACCOUNT": "DU1",
        }
    )
    s = found.settings
    assert s.data.alpha_vantage_key.get_secret_value() == "KEY-1"
    assert (s.limits.daily_loss_usd_max, s.limits.position_fraction_max) == (Decimal("750.50"), 0.04)
    assert s.live.enable is False
    assert (s.gateway.host, s.gateway.port, s.gateway.client_id, s.gateway.account) == ("10.0.0.1", 4001, 3, "DU1")
    assert (s.sms.sid, s.sms.sender, s.sms.recipients) == ("sid", "+15550100", ("+15550101",))
    route = room.route(s)
    assert (route.host, route.port, route.security) == ("smtp.example.com", 465, "tls")
    assert route.recipients == ("a@example.com", "b@example.com")
    assert (route.sender, route.password) == ("me@example.com", "p#ss w$rd")
    assert set(ALIASES.values()) <= set(names())


def test_a_port_of_its_own_beside_the_server(resolve: Resolve) -> None:
    """IBKR_SMTP_PORT fills the port where the server names none, and STARTTLS on 587 is the default."""
    assert room.route(resolve(environ={"IBKR_SMTP_SERVER": "h", "IBKR_SMTP_PORT": "2525"}).settings).port == 2525
    route = room.route(resolve(environ={"IBKR_SMTP_SERVER": "h"}).settings)
    assert (route.port, route.security) == (587, "starttls")
    assert resolve(environ={"IBKR_SMTP_SERVER": "[::1]:25"}).settings.mail.server == "::1"


def test_the_bft_name_wins_over_the_gateways_older_one(resolve: Resolve) -> None:
    """IBKR_PORT counts only where BFT_GATEWAY__PORT is unset, wherever in the alphabet they stand."""
    found = resolve(environ={"IBKR_PORT": "4001", "BFT_GATEWAY__PORT": "4003"})
    assert found.settings.gateway.port == 4003
    assert found.source_of("gateway.port") == "environment BFT_GATEWAY__PORT"


def test_unknown_and_empty_variables_are_ignored(resolve: Resolve) -> None:
    """The environment holds other programs' names too; an empty variable is an unset one."""
    found = resolve(
        environ={
            "BFT_GATEWAY__PROT": "1",
            "BFT_LIMITS": "2",
            "BFT_STRATEGIES__BOLLINGER__NOT_A_NUMBER_OF_IT": "3",
            "BFT_STRATEGIES__NOBODY__MODE": "paper",
            "IBKR_MAX_DAILY_LOSS": "",
            "PATH": "/bin",
        }
    )
    assert found.sources == ()


def test_strategies_take_mode_and_numbers_of_their_own(resolve: Resolve) -> None:
    """A strategy's section is a mode, a switch and its own numbers, which the environment may set too."""
    found = resolve(
        file='schema = 1\n[strategies.bollinger]\nmode = "paper"\nstop_fraction = 0.07\n'
        "[strategies.regression_momentum]\nenabled = false\n",
        environ={"BFT_STRATEGIES__BOLLINGER__HOLD_SESSIONS_MAX": "9"},
    )
    assert found.settings.strategies["bollinger"].numbers() == {"stop_fraction": 0.07, "hold_sessions_max": 9}
    assert [s.name for s in room.strategies(found.settings)] == ["bollinger"]
    assert room.modes(found.settings) == {"bollinger": Mode.PAPER}
    shown = {row.key: row.value for row in found.rows()}
    assert shown["strategies.bollinger.hold_sessions_max"] == "9"
    assert shown["strategies.regression_momentum.hold_sessions_max"] == "13"


def test_combinations_and_lists_from_the_file(resolve: Resolve) -> None:
    """[[combine]] tables, symbol lists and dates arrive as the rooms take them."""
    found = resolve(
        file="""schema = 1
[data]
symbols = ["AAPL", "BRK.B"]
[schedule]
extra_closures = [2026-01-09]
[[combine]]
name = "both"
rule = "weighted"
members = ["bollinger", "regression_momentum"]
weights = {bollinger = 1.0, regression_momentum = 0.5}
threshold = 1.5
predicted_return_3d_min = 0
mode = "paper"
"""
    )
    rule = room.combinations(found.settings)[0]
    assert (rule.name, rule.weights, rule.threshold, rule.predicted_return_3d_min) == ("both", (1.0, 0.5), 1.5, 0.0)
    assert room.modes(found.settings)["both"] is Mode.PAPER
    assert found.settings.schedule.extra_closures == (date(2026, 1, 9),)
    assert room.universe(found.settings, found.home) == ("AAPL", "BRK.B")


def test_lists_from_the_environment(resolve: Resolve) -> None:
    """A list is read from commas or from JSON."""
    assert resolve(environ={"BFT_DATA__SYMBOLS": "A, B,"}).settings.data.symbols == ("A", "B")
    assert resolve(environ={"BFT_DATA__SYMBOLS": '["A", "B"]'}).settings.data.symbols == ("A", "B")
    closures = resolve(environ={"BFT_SCHEDULE__EXTRA_CLOSURES": "2026-01-09"}).settings.schedule.extra_closures
    assert closures == (date(2026, 1, 9),)


def test_the_universe_reads_its_file(resolve: Resolve, tmp_path: Path) -> None:
    """Symbols come from the list and the file, once each; a file that is not there is refused."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/symbols.txt").write_text("msft # comment\n\n# all comment\nAAPL\n")
    found = resolve(file='schema = 1\n[data]\nsymbols = ["AAPL"]\nsymbols_file = "symbols.txt"\n')
    assert room.universe(found.settings, found.home) == ("AAPL", "MSFT")
    missing = resolve(file='schema = 1\n[data]\nsymbols_file = "other.txt"\n')
    with pytest.raises(FixSettings, match=r"other\.txt is not there"):
        room.universe(missing.settings, missing.home)


@pytest.mark.parametrize(
    ("section", "value"), [(LimitsSection, Limits()), (SizingSection, Sizing()), (Ranking, RankingRules())]
)
def test_sections_match_the_rooms_own_numbers(section: type[Section], value: object) -> None:
    """A limit added to a room, or a default moved in one place alone, is noticed here."""
    own = section()
    for field in fields(value):  # type: ignore[arg-type]
        if not field.name.endswith("_weight"):
            assert getattr(own, field.name) == getattr(value, field.name), field.name


def test_conversions(resolve: Resolve) -> None:
    """Limits, sizing and ranking become the rooms' frozen values; one weight given leaves the others at their default."""
    s = resolve(
        file="schema = 1\n[limits]\npositions_max = 3\n[sizing]\ncash_reserve_usd = 500\n"
        "[ranking.weights]\nstrength = 0.9\n"
    ).settings
    assert room.limits(s) == Limits(positions_max=3)
    assert room.sizing(s) == Sizing(cash_reserve_usd=Decimal(500))
    assert room.sizing_by_strategy(s) == {}
    assert room.ranking(s) == RankingRules(strength_weight=0.9)
    assert set(Criterion.__args__) == set(CRITERIA)  # type: ignore[attr-defined]


def test_a_strategy_has_a_size_of_its_own(resolve: Resolve) -> None:
    """A strategy's own fraction goes over the common one and keeps the common reserve; 5 is refused, not read as 500 %."""
    s = resolve(
        file="schema = 1\n[sizing]\ncash_reserve_usd = 500\n[strategies.bollinger]\ncash_fraction = 0.02\n"
    ).settings
    own = Sizing(cash_fraction=0.02, cash_reserve_usd=Decimal(500))
    assert room.sizing_by_strategy(s) == {"bollinger": own}
    with pytest.raises(FixSettings, match=r"cash_fraction"):
        resolve(file="schema = 1\n[strategies.bollinger]\ncash_fraction = 5\n")


def test_every_setting_has_a_description() -> None:
    """`bft where` says what each setting means."""
    assert [key for key, name in names().items() if not name.description] == []


def test_the_hash_follows_decisions_alone(resolve: Resolve, tmp_path: Path) -> None:
    """A limit or a strategy's number moves the hash; a secret, a path, an address or a default written out does not."""
    same = resolve()
    for environ in (
        {"ALPHAVANTAGE_API_KEY": "k"},
        {"IBKR_SMTP_PASSWORD": "p"},
        {"BFT_GATEWAY__PORT": "9"},
        {"BFT_DATA__SYMBOLS_FILE": "x"},
        {"BFT_LIMITS__POSITIONS_MAX": "10"},
        {"BFT_LIMITS__DAILY_LOSS_USD_MAX": "1000.00"},
        {"BFT_STRATEGIES__REGRESSION_MOMENTUM__HOLD_SESSIONS_MAX": "13"},
    ):
        assert resolve(environ=environ).hash == same.hash, environ
    for environ in (
        {"BFT_LIMITS__POSITIONS_MAX": "9"},
        {"BFT_GATEWAY__ACCOUNT": "DU2"},
        {"BFT_STRATEGIES__BOLLINGER__MODE": "paper"},
        {"BFT_STRATEGIES__REGRESSION_MOMENTUM__HOLD_SESSIONS_MAX": "12"},
    ):
        assert resolve(environ=environ).hash != same.hash, environ
    elsewhere = room.resolve(tmp_path / "another", {}, {})
    assert elsewhere.hash == same.hash


def test_secrets_are_masked_everywhere(resolve: Resolve) -> None:
    """No secret appears in what is shown, printed or hashed, and each is known for masking."""
    secrets = {
        "ALPHAVANTAGE_API_KEY": "CANARY-KEY",
        "IBKR_SMTP_PASSWORD": "CANARY-PASSWORD",
        "IBKR_TWILIO_TOKEN": "CANARY-TOKEN",
        "BFT_SCHEDULE__PING_URL": "https://ping.example/CANARY-URL",
    }
    found = resolve(environ=secrets)
    shown = repr(found) + repr(found.rows()) + repr(room.route(found.settings)) + found.settings.model_dump_json()
    assert "CANARY" not in shown
    assert {row.key for row in found.rows() if row.value == "********"} == {
        ALIASES.get(k, "schedule.ping_url") for k in secrets
    }
    assert set(room.known_secrets(found.home.root, secrets)) == set(secrets.values())


def test_secrets_are_known_for_masking_from_every_file(resolve: Resolve, tmp_path: Path) -> None:
    """Secrets of the files are masked even where another setting is wrong."""
    with pytest.raises(FixSettings):
        resolve(
            file='schema = 1\n[mail]\npassword = "from-file"\n[gateway]\nport = "x"\n',
            env_home="ALPHAVANTAGE_API_KEY=from-home\n",
            env_here="IBKR_TWILIO_TOKEN='from-here'\n",
        )
    assert set(room.known_secrets(tmp_path / "home", {})) == {"from-file", "from-home", "from-here"}


def test_open_files_with_secrets_are_warned_about(resolve: Resolve, tmp_path: Path) -> None:
    """A .env, or a settings file with a password, that others may read is warned about; without secrets it is not."""
    assert resolve(env_home="ALPHAVANTAGE_API_KEY=k\n", file="schema = 1\n").warnings == ()
    (tmp_path / "home/.env").chmod(0o640)
    (tmp_path / "home/settings.toml").chmod(0o644)
    assert [w.partition(" holds")[0] for w in resolve().warnings] == [str(tmp_path / "home/.env")]
    (tmp_path / "home/settings.toml").write_text('schema = 1\n[mail]\npassword = "p"\n')
    assert len(resolve().warnings) == 2


def test_env_files_of_the_older_kind(resolve: Resolve) -> None:
    """Quotes, `export`, comments and dollars are read as the shell means them; a broken line is told, not fatal."""
    found = resolve(
        env_here="# mine\nexport IBKR_SMTP_SERVER=\"smtp.example.com\"\nIBKR_SMTP_PASSWORD='a$b #c'\n"
        "IBKR_MAX_POSITION_PCT=0.05  # five percent\nthis is = no 'line\nOTHER=1\n"
    )
    assert found.settings.mail.server == "smtp.example.com"
    assert found.settings.mail.password.get_secret_value() == "a$b #c"
    assert found.settings.limits.position_fraction_max == 0.05
    assert ["line 5 cannot be read" in w for w in found.warnings] == [True]


def test_the_gateway_flag() -> None:
    """--gateway is a host, or a host and port; anything else is refused."""
    assert room.gateway_overrides(None) == {}
    assert room.gateway_overrides("h:4001") == {"gateway.host": "h", "gateway.port": 4001}
    assert room.gateway_overrides("h") == {"gateway.host": "h"}
    for wrong in ("h:0", "h:x", "h:", ":1", "a b:1", "http://h:1", "h:70000"):
        with pytest.raises(FixSettings, match="--gateway"):
            room.gateway_overrides(wrong)


def test_the_real_environment_resolves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's environment holds is read without a fault."""
    monkeypatch.chdir(tmp_path)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BFT_", "IBKR_"))}
    assert room.resolve(tmp_path, {}, clean).settings.gateway.port == 4002
