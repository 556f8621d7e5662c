"""The old program's database from the file that `mysqldump` wrote, with no server.

`reader` lexes the dump into blocks of rows, `blocks` and `literals` read their values, `tables` types them, `staging`
keeps what is read, `bars`, `others` and `load` bring it into the store.
"""

from bar_fly_trading.data.importers.mysqldump.load import DumpReport, import_dump

__all__ = ["DumpReport", "import_dump"]
