"""A daily trading pipeline for US stocks: data, features, predictions, ranked signals, checked orders."""

__version__ = "0.1.0"
