"""The forecaster of 3-, 10- and 30-session returns; importing this package, or `predictions`, never loads torch."""
