"""What is compiled, by `arraycnn.ops.compiled.translation`. A kernel is a function of (block, launch,
scratch): which block of the launch, the fields that the launch code fills in (`launch_struct.py`), and
memory of the thread's own. `launches.py` says how they are run."""
