"""The demo: sessions of real (or synthetic) prices through the whole chain, against servers that speak the real protocols."""

from bar_fly_trading.demo.replay import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
