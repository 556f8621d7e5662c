"""Every setting: its name, type, range, default and what it means.

A value in the settings file must have the type itself (a number is not written in quotes); text from the environment or
the command line is read as that type. Money is Decimal dollars, fractions are fractions (0.05 is 5 %).
"""

from __future__ import annotations

import math
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

SCHEMA = 1


def _decimal(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be finite")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    return value


def _fraction(value: float) -> float:
    if value > 1:
        raise ValueError(
            f"{value:g} would be {value * 100:g} %; it is a fraction: write {value / 100:g} for {value:g} %"
        )
    return value


def _loss(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError(
            f"a loss is written as positive dollars: {-value:f} halts entries at a loss of {-value:f} dollars"
        )
    return value


def _beside_bars(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - {"earnings", "overview", "options", "macro"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of earnings, overview, options, macro")
    return names


def _wall_time(text: str) -> str:
    time.fromisoformat(text)
    if len(text) != len("21:00"):
        raise ValueError(f"{text!r} is no time such as 21:00")
    return text


Usd = Annotated[Decimal, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Fraction = Annotated[float, AfterValidator(_fraction), Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
Mode = Literal["shadow", "paper", "live"]
Days = Annotated[tuple[date, ...], Field(strict=False)]

# Where something is, not what is decided: kept out of the settings' hash, so a moved server does not change it.
PLACE: dict[str, Any] = {"place": True}


class Section(BaseModel):
    """A frozen group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Data(Section):
    """Where prices come from and which symbols are wanted."""

    alpha_vantage_key: SecretStr = Field(default=SecretStr(""), description="Alpha Vantage API key")
    alpha_vantage_url: str = Field(
        default="https://www.alphavantage.co/query", description="Alpha Vantage endpoint", json_schema_extra=PLACE
    )
    mysql_url: SecretStr = Field(
        default=SecretStr(""),
        description="the older program's database for bft import mysql and bft export mysql: mysql://USER@HOST/DATABASE",
    )
    requests_per_minute: Count = Field(default=70, description="most requests a minute; stay below your tier")
    symbols: Words = Field(default=(), description="symbols to pull; empty: every symbol in the store")
    symbols_file: str = Field(
        default="",
        description="file of symbols, one a line, beside `symbols`; relative to the home",
        json_schema_extra=PLACE,
    )
    universe: str = Field(
        default="",
        description="who may be entered: sp500 (members by spells), or a watchlist file relative to the home; `symbols`"
        " and `symbols_file` beside it; nothing set: every name in the store",
    )
    listings_days: Annotated[int, Field(ge=0)] = Field(
        default=7, description="days from one asking what is listed and delisted (two calls) to the next; 0: never"
    )
    options_back_sessions: Annotated[int, Field(ge=1)] = Field(
        default=5, description="most sessions of option chains, the newest included, that a pull makes up for a name"
    )
    also: Annotated[Words, AfterValidator(_beside_bars)] = Field(
        default=(), description="what is pulled beside the bars: earnings, overview, options, macro"
    )
    pull_deadline: Annotated[str, AfterValidator(_wall_time)] = Field(
        default="21:00", description="New York time until which a session that is not served yet is asked for again"
    )
    pull_retry_s: Positive = Field(default=300.0, description="seconds from one such asking to the next")
    pull_time_s_max: Positive = Field(
        default=5400.0,
        description="seconds a pull may go on asking; what came by then is kept, and the evening goes on",
    )
    request_connect_s: Positive = Field(default=5.0, description="seconds a connection to the vendor may take")
    request_read_s: Positive = Field(default=20.0, description="seconds of silence after which a request is given up")
    request_total_s: Positive = Field(
        default=60.0, description="seconds a whole request may take, however slowly it drips"
    )
    request_attempts_max: Count = Field(default=5, description="most times a request is tried")
    request_backoff_s: Positive = Field(
        default=1.0, description="seconds before the second try, at most; twice that before each next, to 30"
    )
    min_history_sessions: Count = Field(
        default=22, description="sessions a symbol needs before it is used: two 20-day bands, and a 20-day return"
    )
    suspect_sessions: Annotated[int, Field(ge=0)] = Field(
        default=20,
        description="newest sessions in which a bad suspicion keeps a symbol out (see bft validate); 0: never",
    )
    coverage_min: Fraction = Field(
        default=0.8, description="least share of the expected symbols that must be usable, a fraction; below it, stop"
    )
    disk_days_min: Annotated[int, Field(ge=0)] = Field(
        default=30,
        description="days until the disk is full below which the evening's mail says so; 0: never",
        json_schema_extra=PLACE,
    )


class Gateway(Section):
    """How IB Gateway is reached."""

    host: str = Field(default="127.0.0.1", description="IB Gateway host", json_schema_extra=PLACE)
    port: Port = Field(default=4002, description="IB Gateway port: 4002 paper, 4001 live", json_schema_extra=PLACE)
    client_id: Annotated[int, Field(ge=1)] = Field(default=17, description="API client id", json_schema_extra=PLACE)
    account: str = Field(default="", description="account expected; empty: the only one the Gateway has")
    timeout_s: Positive = Field(default=15.0, description="longest wait for one answer of the Gateway")
    fill_wait_s: Positive = Field(default=30.0, description="longest wait for a fill before the rest is cancelled")
    lease_s: Positive = Field(
        default=120.0,
        description="how long the right to send lasts unrenewed: a run that stood still longer sends nothing",
    )


class StrategySection(BaseModel):
    """One strategy: whether it runs, in which mode, and its own numbers (checked by the strategy itself)."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    enabled: bool = Field(default=True, description="whether the strategy runs")
    mode: Literal["shadow", "paper", "live"] = Field(
        default="shadow", description="shadow, or paper; live is not built"
    )
    cash_fraction: Fraction | None = Field(
        default=None, description="this strategy's own sizing.cash_fraction; unset: that one"
    )
    cash_reserve_usd: Annotated[Usd, Field(ge=0)] | None = Field(
        default=None, description="this strategy's own sizing.cash_reserve_usd; unset: that one"
    )

    def numbers(self) -> dict[str, Any]:
        """Return the strategy's own numbers, as written."""
        return dict(self.__pydantic_extra__ or {})


class Combination(Section):
    """One combined signal made of strategies' signals; it has a mode of its own, like a strategy."""

    name: str = Field(description="its name in signals and mails")
    rule: Literal["any", "all", "weighted"] = Field(default="all", description="how members must agree")
    members: Words = Field(description="strategies it listens to")
    weights: dict[str, Number] = Field(default_factory=dict, description="weight a member, for rule weighted")
    threshold: Number = Field(default=0.0, description="weights that must agree, for rule weighted")
    predicted_return_3d_min: Number | None = Field(
        default=None, description="predicted 3-day return (fraction) that must be exceeded"
    )
    mode: Mode = Field(default="shadow", description="shadow, or paper; live is not built")


Criterion = Literal["strength", "confidence", "dollar_volume", "sector", "recent_performance"]


def _default_weights() -> dict[Criterion, float]:
    return {
        "strength": 0.25,
        "confidence": 0.25,
        "dollar_volume": 0.15,
        "sector": 0.15,
        "recent_performance": 0.2,
    }


def _with_defaults(value: object) -> object:
    return {**_default_weights(), **value} if isinstance(value, dict) else value


Weights = Annotated[dict[Criterion, Annotated[Number, Field(ge=0)]], BeforeValidator(_with_defaults)]


class Ranking(Section):
    """How entries are scored, ordered, and tagged execute or watch (see `trading.signal_ranker`)."""

    weights: Weights = Field(
        default_factory=_default_weights, description="weight of each criterion; one not named keeps its default"
    )
    strength_half: Positive = Field(default=0.25, description="signal strength that scores one half")
    dollar_volume_half_usd: Positive = Field(default=50_000_000.0, description="dollar volume that scores one half")
    falling_knife_fraction: Positive = Field(default=0.2, description="recent loss (fraction) that scores nothing")
    new_entries_a_day_max: Count = Field(default=5, description="most new entries tagged execute a day")
    sector_entries_max: Count = Field(default=2, description="most new entries of one sector a day")
    dollar_volume_median_20d_usd_min: Positive = Field(
        default=5_000_000.0, description="least 20-day median dollar volume of an execute"
    )


class LimitsSection(Section):
    """The numbers every order is held to before it is sent."""

    quote_age_s_max: Positive = Field(default=5.0, description="oldest quote used (seconds)")
    spread_fraction_max: Fraction = Field(default=0.005, description="widest spread, as a fraction of the mid")
    exit_spread_fraction_max: Fraction = Field(default=0.05, description="widest spread at which an exit is still sent")
    drift_fraction_max: Fraction = Field(default=0.02, description="furthest mid from the signal's close, a fraction")
    dollar_volume_median_20d_usd_min: Positive = Field(
        default=5_000_000.0, description="least 20-day median dollar volume (USD)"
    )
    positions_max: Count = Field(default=10, description="most positions held at once")
    position_fraction_max: Fraction = Field(
        default=0.05, description="most of net liquidation in one stock, a fraction"
    )
    daily_loss_usd_max: Annotated[Usd, AfterValidator(_loss), Field(gt=0)] = Field(
        default=Decimal(1000), description="loss (positive dollars) at which entries halt for the day"
    )
    new_entries_a_day_max: Count = Field(default=5, description="most new entries a day")


class SizingSection(Section):
    """How large an entry starts, before the caps."""

    cash_fraction: Fraction = Field(default=0.05, description="fraction of the cash above the reserve for one entry")
    cash_reserve_usd: Annotated[Usd, Field(ge=0)] = Field(
        default=Decimal(1000), description="cash never spent (dollars)"
    )
    order_volume_fraction_max: Fraction | None = Field(
        default=None, description="most of the 20-day median dollar volume in one order; unset: no such cap"
    )


class Training(Section):
    """When and how long the model is trained."""

    minutes: Positive = Field(default=20.0, description="longest a training takes (minutes)")
    every_days: Count = Field(default=7, description="days after which a training is due")


class Mail(Section):
    """How mail is sent; without recipients mails are only kept as files in the outbox."""

    server: str = Field(default="", description="SMTP host, or host:port", json_schema_extra=PLACE)
    port: Port | None = Field(
        default=None, description="SMTP port; unset: 587, or 465 with security tls", json_schema_extra=PLACE
    )
    security: Literal["auto", "starttls", "tls", "none"] = Field(
        default="auto",
        description="auto: TLS on port 465, STARTTLS elsewhere; none only without a password",
        json_schema_extra=PLACE,
    )
    user: str = Field(default="", description="SMTP user", json_schema_extra=PLACE)
    password: SecretStr = Field(default=SecretStr(""), description="SMTP password")
    sender: str = Field(default="", description="From address; empty: the user", json_schema_extra=PLACE)
    recipients: Words = Field(default=(), description="who is told", json_schema_extra=PLACE)
    ca_file: str = Field(
        default="",
        description="PEM file of a mail server's own authority; empty: the system's",
        json_schema_extra=PLACE,
    )
    timeout_s: Positive = Field(default=15.0, description="longest wait for the mail server", json_schema_extra=PLACE)


class Sms(Section):
    """Known names of the older program; this version sends no SMS."""

    sid: str = Field(default="", description="Twilio account (SMS is not built)", json_schema_extra=PLACE)
    token: SecretStr = Field(default=SecretStr(""), description="Twilio token (SMS is not built)")
    sender: str = Field(default="", description="Twilio number (SMS is not built)", json_schema_extra=PLACE)
    recipients: Words = Field(default=(), description="phones to tell (SMS is not built)", json_schema_extra=PLACE)


class Schedule(Section):
    """The calendar's exceptions and the outside witness."""

    extra_closures: Days = Field(default=(), description="days the exchange closed at short notice")
    ping_url: SecretStr = Field(
        default=SecretStr(""), description="URL told of start (/start), success and failure (/fail); it holds a token"
    )


class Live(Section):
    """The interlock of live trading."""

    enable: bool = Field(default=False, description="only `true` enables live trading, which is not built")


def _default_strategies() -> dict[str, StrategySection]:
    return {"bollinger": StrategySection(), "regression_momentum": StrategySection()}


class Settings(Section):
    """Every setting, resolved."""

    data: Data = Data()
    gateway: Gateway = Gateway()
    strategies: dict[str, StrategySection] = Field(default_factory=_default_strategies)
    combine: Annotated[tuple[Combination, ...], Field(strict=False)] = Field(
        default=(), description="combined signals, [[combine]] tables"
    )
    ranking: Ranking = Ranking()
    limits: LimitsSection = LimitsSection()
    sizing: SizingSection = SizingSection()
    training: Training = Training()
    mail: Mail = Mail()
    sms: Sms = Sms()
    schedule: Schedule = Schedule()
    live: Live = Live()
