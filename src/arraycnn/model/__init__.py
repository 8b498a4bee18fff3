"""`Model`, and what it makes of what a user hands to it."""

from arraycnn.model.model import Model

__all__ = ["Model"]
