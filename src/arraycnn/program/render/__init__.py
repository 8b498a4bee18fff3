"""Renderers: a loop of a schedule as code of one engine."""
