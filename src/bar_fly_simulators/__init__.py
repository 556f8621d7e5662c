"""Servers that speak the real protocols, for trying and testing the program without keys or accounts."""
