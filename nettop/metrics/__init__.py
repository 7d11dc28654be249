"""Sums for many hosts: what events add up to, by unit and comm, in a bounded number of series."""
