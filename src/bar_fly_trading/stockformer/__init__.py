"""The transformer that predicts 3-, 10- and 30-day returns."""
