"""One seed: a home of its own, a few sessions of morning, faults, close and settling, driven through the program's own stages."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from bar_fly_trading.daily_pipeline.close import close, reconcile_now
from bar_fly_trading.daily_pipeline.morning import MorningDone, morning
from bar_fly_trading.daily_pipeline.order_mails import queue_order_mails
from bar_fly_trading.daily_pipeline.parts import Connected, Parts
from bar_fly_trading.daily_pipeline.records import EVENING_KIND, Evening
from bar_fly_trading.daily_pipeline.telling import Mails
from bar_fly_trading.errors import BftError, CheckGateway
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.outbox import Outbox
from bar_fly_trading.notify.route import MailRoute
from bar_fly_trading.settings import Home, Settings, limits, ranking, sizing
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import RankedSignal
from proof.broker import Broker
from proof.faults import Dice
from proof.fuse import Crash, Fuse, WatchedJournal
from proof.ground import SESSIONS_A_SEED, StillStore, base_prices, calendar, sessions
from proof.invariants import Judge, Violation
from proof.ledger import Ledger
from proof.venue import SimulatedVenue
from proof.virtual import SECOND_US, VirtualClock, VirtualLoop

STRATEGIES = ("bollinger", "regression_momentum")
RUNS_MAX = 5


@dataclass(slots=True)
class Heard(Mails):
    """Mails kept in memory; one of the same identity is kept once, as the outbox does."""

    kept: dict[str, MailMessage] = field(default_factory=dict)

    def queue(self, mail: MailMessage) -> None:
        """Keep a mail."""
        self.kept.setdefault(mail.identity, mail)


class Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Say nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class SeedResult:
    """What one seed showed. `days`: sessions run; `trace`: equal for equal seeds."""

    seed: int
    calm: bool
    days: int
    violations: tuple[Violation, ...]
    hits: Counter[str]
    states: Counter[str]
    placed: int
    admissible: int
    halts: int
    trace: str


class Seed:
    """Runs one seed. `crash_at`: end the first morning at this point, instead of where the dice say."""

    def __init__(self, seed: int, shared: Path, *, calm: bool | None = None, crash_at: int | None = None) -> None:
        """Draw everything from the seed."""
        self.dice = Dice(seed, calm)
        self.seed, self.shared, self.crash_at = seed, shared, crash_at
        self.loop = VirtualLoop(calendar().session(sessions()[0]).close_us)
        self.broker = Broker(self.dice, self.loop, base_prices())
        self.fuse = Fuse()
        self.modes = {STRATEGIES[0]: Mode.PAPER, STRATEGIES[1]: self.dice.random.choice((Mode.PAPER, Mode.SHADOW))}
        fraction = 0.05 if self.dice.calm else self.dice.random.choice((0.05, 0.6))
        self.settings = Settings.model_validate({"sizing": {"cash_fraction": fraction}})
        if not self.dice.calm and self.dice.random.random() < 0.3:
            # Little cash beside much that the user owns: orders compete for the cash.
            self.broker.cash_usd = Decimal(9_000)
            self.broker.positions["us:USR"] = 1000
            self.broker.prices_usd["us:USR"] = Decimal(91)
        self.mails: dict[str, MailMessage] = {}
        self.halts = self.admissible = self.runs = self.points = 0

    def run(self) -> SeedResult:
        """Run every session, then say what was found."""
        folder = Path(tempfile.mkdtemp(prefix="seed-", dir=self.shared))
        self.home = replace(Home.at(folder), store=self.shared / "store")
        shutil.copyfile(self.shared / "journal.sqlite", self.home.journal)
        self.ledger = Ledger(self.home.journal)
        paper = frozenset(name for name, mode in self.modes.items() if mode is Mode.PAPER)
        self.judge = Judge(self.broker, self.ledger, paper)
        try:
            days = self._sessions()
            states = Counter(state for state, _ in self.ledger.intents().values())
            return SeedResult(
                self.seed,
                bool(self.dice.calm),
                days,
                tuple(self.judge.found),
                self.dice.hits,
                states,
                len(self.broker.writes),
                self.admissible,
                self.halts,
                self.ledger.fingerprint(),
            )
        finally:
            self.ledger.close()
            self.loop.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _sessions(self) -> int:
        for number, session in enumerate(sessions()[1:]):
            signals = self._evening(sessions()[number], session)
            self._morning(session)
            self._user()
            self.broker.end_session()
            self._settle(session)
            decided = [(s.strategy, s.instrument_id, s.side.value, s.purpose.value) for s in signals]
            self.judge.at_settle(session, decided, [m.key for m in self.mails.values() if m.kind == "order"])
            if self.judge.found:
                return number + 1
        return SESSIONS_A_SEED

    # ------------------------------------------------------------ the evening's signals

    def _evening(self, before: date, session: date) -> list[Signal]:
        dice = self.dice
        signals: list[Signal] = []
        held = {m: self.ledger.held(m) for m in ("paper", "shadow")}
        for (strategy, instrument_id), shares in sorted(held["paper"].items() | held["shadow"].items()):
            mode = self.modes[strategy].value
            if held[mode].get((strategy, instrument_id), 0) == shares > 0 and dice.random.random() < 0.6:
                signals.append(self._signal(before, strategy, instrument_id, Side.SELL, Purpose.EXIT))
        for strategy in STRATEGIES:
            for instrument_id in sorted(dice.random.sample(sorted(base_prices()), dice.random.randint(0, 5))):
                signals.append(self._signal(before, strategy, instrument_id, Side.BUY, Purpose.ENTRY))
        if dice.strikes("signal for nothing held"):
            free = [i for i in sorted(base_prices()) if not any(i == at[1] for m in held.values() for at in m)]
            signals.append(self._signal(before, STRATEGIES[0], free[0], Side.SELL, Purpose.EXIT))
        unique = {s.sort_key(): s for s in signals}
        ranked, rank = [], 0
        for signal in unique.values():
            entry = signal.purpose is Purpose.ENTRY
            rank += entry
            tag = "watch" if entry and dice.random.random() < 0.15 else "execute"
            ranked.append(
                RankedSignal(signal, rank if entry else 0, tag, "drawn" if tag == "watch" else "", 1.0, (), "x", 5e8)
            )
        evening = Evening(before, "f" * 64, None, "", tuple(ranked), (), (), 0)
        with self._journal("evening") as journal:
            journal.append(EVENING_KIND, evening.payload(), at_us=self.loop.at_us)
        self._expect(ranked)
        return list(unique.values())

    def _signal(self, session: date, strategy: str, instrument_id: str, side: Side, purpose: Purpose) -> Signal:
        closed = self.broker.prices_usd[instrument_id]
        return Signal(session, strategy, instrument_id, instrument_id[3:], side, purpose, 1.0, closed, "drawn")

    def _expect(self, ranked: list[RankedSignal]) -> None:
        """Count the paper signals that nothing stands against, in the order of decision; only calm seeds know them."""
        held = self.ledger.held("paper")
        account = {i for i, n in self.broker.positions.items() if n}
        sold: set[str] = set()
        bought: set[str] = set()
        for r in sorted(ranked, key=lambda r: (r.signal.purpose is not Purpose.EXIT, r.rank, r.signal.sort_key())):
            s = r.signal
            if self.modes[s.strategy] is not Mode.PAPER or r.tag != "execute":
                continue
            shares = held.get((s.strategy, s.instrument_id), 0)
            if s.purpose is Purpose.EXIT:
                self.admissible += shares > 0
                sold |= {s.instrument_id} if shares > 0 else set()
            elif (
                shares == 0
                and s.instrument_id not in bought | sold
                and len(bought) < self.settings.limits.new_entries_a_day_max
                and (s.instrument_id in account or len(account | bought) < self.settings.limits.positions_max)
                and self._room(s)
            ):
                bought.add(s.instrument_id)
                self.admissible += 1

    def _room(self, signal: Signal) -> bool:
        """Tell whether one more share fits under the position's fraction; what another strategy holds counts."""
        held = self.broker.positions.get(signal.instrument_id, 0)
        return (held + 1) * signal.close_usd * Decimal("1.02") <= Decimal("0.05") * self.broker.worth_usd()

    # ------------------------------------------------------------ the program's stages

    @contextmanager
    def _journal(self, command: str) -> Iterator[WatchedJournal]:
        self.runs += 1
        with WatchedJournal.open(
            self.home.journal,
            now_us=lambda: self.loop.at_us,
            run_id=f"{command}-{self.seed}-{self.runs}",
            settings_hash="proof",
        ) as journal:
            trades = command != "evening"
            journal.fuse = self.fuse
            journal.refuses = lambda: trades and self.dice.strikes("journal write fails")
            journal.pauses = lambda: self._stand_still() if trades else None
            yield journal

    @contextmanager
    def _mailing(self, journal: WatchedJournal) -> Iterator[None]:
        """Queue the mails of what a stage did when it ends, well or not, as the program does; a crash queues nothing."""

        def keep(mail: MailMessage) -> None:
            self.mails.setdefault(mail.identity, mail)

        try:
            yield
            queue_order_mails(journal, keep)
        except BftError:
            with suppress(BftError):
                queue_order_mails(journal, keep)
            raise

    def _stand_still(self) -> None:
        """Let time pass while the process does nothing, as one that was stopped or swapped out."""
        if self.dice.strikes("process stood still"):
            self.loop.pass_time(self.dice.random.choice((8.0, 30.0, 600.0)))

    def _parts(self, journal: WatchedJournal) -> Parts:
        clock = VirtualClock(self.loop)

        async def connect(id_of_symbol: Callable[[str], str | None]) -> Connected:
            venue = SimulatedVenue(self.broker, self.fuse)
            account = await venue.connect()
            venue.on_write = self.judge.at_write
            return Connected(venue, venue, account)

        return Parts(
            home=self.home,
            settings=self.settings,
            settings_hash="proof",
            run_id="proof",
            clock=clock,
            calendar=calendar(),
            store=StillStore(self.home.store),
            journal=journal,
            strategies=(),
            modes=self.modes,
            combinations=(),
            ranking=ranking(self.settings),
            limits=limits(self.settings),
            sizing=sizing(self.settings),
            sizing_by_strategy={},
            outbox=Outbox(self.home.outbox),
            route=MailRoute("", 25, "none", "", "", "bft@localhost", (), 1.0),
            connect=connect,
            pull=None,
            say=Silent(),
        )

    def _morning(self, session: date) -> None:
        day = calendar().session(session)
        self.loop.pass_time((day.open_us - self.loop.at_us) / SECOND_US + 900)
        self.broker.session = session
        for instrument_id, price in self.broker.prices_usd.items():
            moved = price * Decimal(str(round(1 + self.dice.between(-0.008, 0.008), 6)))
            self.broker.prices_usd[instrument_id] = moved.quantize(Decimal("0.01"))
        for attempt in range(RUNS_MAX):
            if attempt == 0 and self.crash_at is not None:
                self.fuse.arm(self.crash_at)
            elif attempt < RUNS_MAX - 1 and self.dice.strikes("crash"):
                self.fuse.arm(self.dice.random.randint(1, 60))
            else:
                self.fuse.arm(None)
            ended = self._run_morning(session)
            self.points = max(self.points, self.fuse.passed)
            self._wait(self.dice.between(1, 120))
            if ended and not self.dice.strikes("run again"):
                break
        self.fuse.arm(None)

    def _run_morning(self, session: date) -> bool:
        """Run the morning once; tell whether it came to its end."""
        try:
            with self._journal("morning") as journal, self._mailing(journal):
                parts = self._parts(journal)
                heard = Heard(parts, session, kept=self.mails)
                if self.dice.strikes("two runs at once"):
                    done = self.loop.run(self._with_rival(parts, session, heard))
                else:
                    done = self.loop.run(morning(parts, session, heard))
            self.halts += done.outcome.value != "done"
            return done.outcome.value != "account not read"
        except Crash:
            self.broker.sinks.clear()
            return False
        except BftError:
            self.broker.sinks.clear()
            self.halts += 1
            return False

    async def _with_rival(self, parts: Parts, session: date, heard: Heard) -> MorningDone:
        """Run the morning beside one on another machine that shares the journal, begun a little before or after."""
        with self._journal("rival") as journal:
            journal.elsewhere = True
            rival = asyncio.create_task(self._rival(replace(parts, journal=journal), session))
            await asyncio.sleep(self.dice.between(0, 3))
            try:
                return await morning(parts, session, heard)
            finally:
                await asyncio.gather(rival, return_exceptions=True)

    async def _rival(self, parts: Parts, session: date) -> None:
        await asyncio.sleep(self.dice.between(0, 3))
        await morning(parts, session, Heard(parts, session, kept=self.mails))

    def _user(self) -> None:
        if self.dice.strikes("user trades"):
            self.broker.user_trades(self.dice.random.choice(sorted(self.broker.prices_usd)), 10)
        ours = sorted({i for (_, i), shares in self.ledger.held("paper").items() if shares > 1})
        if ours and self.dice.strikes("user sells ours"):
            self.broker.user_trades(self.dice.random.choice(ours), -1)
        self._wait(self.dice.between(60, 600))

    def _settle(self, session: date) -> None:
        """Close with the faults still on, then heal everything and reconcile until nothing changes."""
        day = calendar().session(session)
        self.loop.pass_time(max(0.0, (day.close_us - self.loop.at_us) / SECOND_US + 1))
        calm = self.dice.calm and self.crash_at is None
        if calm or self.dice.random.random() < 0.5:
            self._close(session)
        if calm:
            return
        self.dice.healed = True
        self._wait(200)
        self._reconcile(session)
        self._wait(200)
        self._close(session)
        self.dice.healed = False

    def _close(self, session: date) -> None:
        try:
            with self._journal("close") as journal, self._mailing(journal):
                parts = self._parts(journal)
                self.loop.run(close(parts, session, Heard(parts, session, kept=self.mails)))
        except (BftError, Crash):
            self.broker.sinks.clear()

    def _reconcile(self, session: date) -> None:
        try:
            with self._journal("reconcile") as journal, self._mailing(journal):
                parts = self._parts(journal)
                self.loop.run(reconcile_now(parts, session, Heard(parts, session, kept=self.mails)))
        except CheckGateway:
            self.broker.sinks.clear()

    def _wait(self, seconds: float) -> None:
        self.loop.run(asyncio.sleep(seconds))
