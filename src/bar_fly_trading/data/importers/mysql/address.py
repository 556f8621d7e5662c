"""Where the older program's database is: a URL taken apart, its password never shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from urllib.parse import parse_qsl, unquote, urlsplit

from bar_fly_trading.errors import FixSettings

DATABASE, PORT = "bar_fly_trading", 3306
SCHEMES = ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql")
_EXAMPLE = "mysql://USER@127.0.0.1:3306/bar_fly_trading"


@dataclass(frozen=True, slots=True)
class Address:
    """One database on one server. `password` None: not given. `socket`: the path of a local socket, else host and port.

    `certificate`: path of the CA's certificate to check the server's against (`?ssl_ca=PATH`).
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    socket: str | None = None
    certificate: str | None = None

    def __str__(self) -> str:
        """Return it for a person: without the password."""
        return f"{self.database} on {self.socket or f'{self.host}:{self.port}'}"

    @property
    def mark(self) -> str:
        """Return 16 hexadecimal digits that name the database (the user and password do not count)."""
        return sha256(f"{self.socket or f'{self.host}:{self.port}'}/{self.database}".encode()).hexdigest()[:16]

    def with_password(self, password: str) -> Address:
        """Return the same place with a password."""
        return replace(self, password=password)


def parse_address(text: str) -> Address:
    """Read `mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE`; FixSettings, which repeats nothing of it, where it is no such URL.

    What the URL leaves out: user root, host 127.0.0.1, port 3306, database bar_fly_trading. `?unix_socket=PATH` and
    `?ssl_ca=PATH` are understood, as SQLAlchemy's `mysql+pymysql://` is.
    """
    way_out = f"Write it as {_EXAMPLE}; a @, : or / in a password is written as %40, %3A, %2F."
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        given = dict(parse_qsl(parts.query))
    except ValueError:
        # The error's own words may repeat a part of the password.
        raise FixSettings("the MySQL URL cannot be read.", way_out=way_out) from None
    if parts.scheme not in SCHEMES:
        raise FixSettings(f"the MySQL URL does not begin with {SCHEMES[0]}://.", way_out=way_out)
    if parts.fragment or parts.path.count("/") > 1:
        raise FixSettings("the MySQL URL has more after its host than the name of one database.", way_out=way_out)
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or PORT,
        user=unquote(parts.username or "root"),
        database=unquote(parts.path.removeprefix("/")) or DATABASE,
        password=None if parts.password is None else unquote(parts.password),
        socket=given.get("unix_socket"),
        certificate=given.get("ssl_ca"),
    )
