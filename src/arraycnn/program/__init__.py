"""A step as a program: traced once, rewritten by passes, rendered for an engine."""

import arraycnn.program.namespace  # noqa: F401  without which traced arrays have none
