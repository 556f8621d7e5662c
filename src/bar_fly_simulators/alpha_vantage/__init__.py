"""An Alpha Vantage server over a market: the daily series, quotes, earnings, overview, splits and dividends.

`python -m bar_fly_simulators.alpha_vantage --port P --market demo` serves `GET /query?function=...&apikey=...` on
127.0.0.1. Bodies have the recorded shapes: HTTP 200 for nearly everything, numbers as strings, newest first. Nothing
later than the clock is served: a session's bar appears at its close, and adjusted closes are on the basis of the newest
bar served, so that a split or dividend to come does not show.
"""
