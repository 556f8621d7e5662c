"""The older program's database from its running server: read only, one snapshot, bounded memory, resumable.

`address` reads the URL, `connection` speaks to the server, `spool` writes its tables down in the form of a dump, `load`
hands them to the importer of dumps, so that a database comes out the same whichever way it came in.
"""

from bar_fly_trading.data.importers.mysql.address import Address, parse_address
from bar_fly_trading.data.importers.mysql.load import Bounds, ServerReport, import_server

__all__ = ["Address", "Bounds", "ServerReport", "import_server", "parse_address"]
