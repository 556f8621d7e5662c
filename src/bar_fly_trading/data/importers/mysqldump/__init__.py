"""The old program's database from the file that `mysqldump` wrote, with no server.

`reader` lexes the dump into blocks of rows; `quick` reads the plain ones, `blocks` and `literals` the others, exactly;
`tables` types them. `reading` makes the passes into what `staging` keeps, `bars`, `others` and `chains` turn that into the
store's rows, `loader` publishes them, `load` leads. The mapping is importable: `bars.load`, `bars.with_events`, `others.overview`,
`.sectors`, `.earnings`, `.macro`, `.listed_splits`, `.options_summary`, `chains.option_chains`, `.volumes`, and
`tables.OLD_TABLES` names what is read of each table.
"""

from bar_fly_trading.data.importers.mysqldump.load import DumpReport, import_dump

__all__ = ["DumpReport", "import_dump"]
