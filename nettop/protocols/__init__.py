"""Heads of application protocols, parsed by pure functions that never raise on any bytes."""
