"""Clients as their users run them, through both fronts: `python3 -m local clients`."""
