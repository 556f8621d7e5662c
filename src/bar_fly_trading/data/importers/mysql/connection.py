"""One connection to the older program's server, read only, in one snapshot; PyMySQL's errors in the operator's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from bar_fly_trading.data.importers.mysql.address import Address
from bar_fly_trading.errors import BftError, DoneLess, FixInput, FixSettings

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 600
_GONE = frozenset({1053, 1927, 2006, 2013, 2055, 4031, 1158, 1159, 1160, 1161, 1317, 3024})
_REFUSED = {1044: "may not use the database", 1142: "may not do that", 1143: "may not read a column"}
INSTALL = "Install it: pip install 'bar_fly_trading[mysql]'."


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return f"`{name.replace('`', '``')}`"


@dataclass(frozen=True, slots=True)
class ServerTable:
    """One table as the server describes it: columns with their types, a key that tells rows apart, sizes (estimated).

    `key`: the columns of the primary key, else of a unique key without NULL, in its order; empty where there is none.
    `leading`: the columns that lead an index, so that a range of them need not read the whole table.
    """

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    leading: frozenset[str]
    rows: int
    bytes: int


def went_away(address: Address) -> BftError:
    """Return the error of a server that is gone in the middle."""
    return DoneLess(
        f"the server went away while {address} was read; what was read is kept.",
        way_out="Run the same command again: it continues where it was.",
    )


@contextmanager
def told(address: Address, *, reading: bool = True) -> Iterator[None]:
    """Turn what PyMySQL raises inside into our errors; none of them holds the URL or the password.

    FixSettings where the server cannot be reached or says no, DoneLess where it goes away, FixInput for what else it answers.
    """
    import pymysql

    try:
        yield
    except pymysql.err.MySQLError as error:
        raise _translated(error, address, reading=reading) from None
    except OSError as error:
        if reading:
            raise went_away(address) from None
        raise FixSettings(f"{address} cannot be reached: {error.strerror or type(error).__name__}.") from None


def _translated(error: Exception, address: Address, *, reading: bool) -> BftError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = _without(str(error.args[-1]) if error.args else type(error).__name__, address)
    if code == 1045:
        return FixSettings(
            f"the server refuses user {address.user} for {address}: wrong name or password.",
            way_out="Correct BFT_MYSQL_URL; a @, : or / in the password is written as %40, %3A, %2F.",
        )
    if code == 1049:
        return FixSettings(f"the server has no database {address.database}.", way_out="Correct the URL's last part.")
    if code in _REFUSED:
        return FixSettings(
            f"user {address.user} {_REFUSED[code]}: {words} (error {code}).",
            way_out=f"GRANT SELECT ON {address.database}.* TO that user (to export, also CREATE, INSERT, UPDATE).",
        )
    if not reading and code in (2002, 2003):
        return FixSettings(
            f"{address} cannot be reached.",
            way_out="Start the server, or open its port (README: a container without a published port).",
        )
    if reading and (code in _GONE or code == 0):
        return went_away(address)
    return FixInput(f"the server of {address} says: {words} (error {code}).", way_out="Correct that on the server.")


def _without(text: str, address: Address) -> str:
    for secret in (address.password,):
        if secret:
            text = text.replace(secret, "********")
    return text[:300]


class Server:
    """A connection as a context manager; nothing is written through it unless `writing`."""

    def __init__(self, address: Address, *, writing: bool = False) -> None:
        """Connect; FixSettings where PyMySQL is absent, the server cannot be reached, or it refuses."""
        try:
            import pymysql
        except ImportError:
            raise FixSettings("reading a MySQL server needs the package PyMySQL.", way_out=INSTALL) from None
        self.address = address
        self._snapshot = False
        tls = {"ssl_ca": address.certificate, "ssl_verify_cert": True} if address.certificate else {}
        try:
            with told(address, reading=False):
                self.connection: Any = pymysql.connect(
                    host=address.host,
                    port=address.port,
                    unix_socket=address.socket,
                    user=address.user,
                    # As bytes: PyMySQL would encode text as latin1.
                    password=(address.password or "").encode(),
                    database=address.database,
                    charset="utf8mb4",
                    # What comes is taken as text; what goes is spelt by PyMySQL.
                    conv={
                        kind: how for kind, how in pymysql.converters.conversions.items() if not isinstance(kind, int)
                    },
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    write_timeout=READ_TIMEOUT_S,
                    autocommit=not writing,
                    **tls,
                )
        except RuntimeError:
            # PyMySQL's words where caching_sha2_password has to encrypt the password itself.
            raise FixSettings(
                f"{address} wants the password encrypted (caching_sha2_password) and the connection has no TLS.",
                way_out="Switch TLS on at the server (MySQL 8 has it by default), or pip install cryptography.",
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once, also in the middle of an answer."""
        self.connection._force_close()

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return an answer's rows, each value as text."""
        with told(self.address), self.connection.cursor() as cursor:
            cursor.execute(sql, tuple(values) or None)
            return list(cursor.fetchall() or ())

    def begin_snapshot(self) -> None:
        """Read from here on what the database holds now, whatever others write meanwhile; writing is refused."""
        for sql in (
            "SET SESSION net_write_timeout = 3600",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ):
            self.ask(sql)

    def stream(self, sql: str, values: Sequence[object], batch_rows: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield an answer's rows in batches while the server sends them, never more than one batch in memory."""
        from pymysql.cursors import SSCursor

        with told(self.address):
            cursor = self.connection.cursor(SSCursor)
            try:
                cursor.execute(sql, tuple(values) or None)
                while batch := cursor.fetchmany(batch_rows):
                    yield batch
            finally:
                # An answer left in the middle would be read to its end when the cursor goes; its connection goes first.
                if cursor._result is not None:
                    cursor._result.unbuffered_active = False
                    cursor._result.connection = None
                cursor.connection = None

    def tables(self, names: Sequence[str]) -> dict[str, ServerTable]:
        """Return those of the named tables that the database has."""
        marks = ", ".join(["%s"] * len(names))
        of = f"table_schema = DATABASE() AND table_name IN ({marks})"
        sizes = self.ask(
            f"SELECT table_name, table_rows, data_length FROM information_schema.tables WHERE {of}",  # noqa: S608
            names,
        )
        columns = self.ask(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"  # noqa: S608
            f" WHERE {of} ORDER BY table_name, ordinal_position",
            names,
        )
        indexes = self.ask(
            "SELECT table_name, index_name, non_unique, column_name, nullable FROM information_schema.statistics"  # noqa: S608
            f" WHERE {of} ORDER BY table_name, index_name <> 'PRIMARY', index_name, seq_in_index",
            names,
        )
        return {
            name: ServerTable(
                name=name,
                columns={column: kind for table, column, kind in columns if table == name},
                key=_key([row[1:] for row in indexes if row[0] == name]),
                leading=_leading([row[1:] for row in indexes if row[0] == name]),
                rows=int(rows or 0),
                bytes=int(size or 0),
            )
            for name, rows, size in sizes
        }


def _key(indexes: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    for name in dict.fromkeys(row[0] for row in indexes):
        parts = [row for row in indexes if row[0] == name]
        if all(str(non_unique) == "0" and nullable != "YES" for _, non_unique, _, nullable in parts):
            return tuple(column for _, _, column, _ in parts)
    return ()


def _leading(indexes: Sequence[tuple[Any, ...]]) -> frozenset[str]:
    first = {name: column for name, _, column, _ in reversed(indexes)}
    return frozenset(first.values())
