"""Where the time of a step goes: each fused loop and operation, against the machine and PyTorch."""

from arraycnn.profiling.profile import Profile, profile

__all__ = ["Profile", "profile"]
