"""Passes: pure functions from program to program, and from program to what is run."""
