"""What is compiled, by `arraycnn.ops.compiled.translation`. A kernel is a function of (block, words,
scratch): which block of the launch, the launch's 64-bit words as the launch code beside this folder
packs them, and memory of the thread's own. `launches.py` says how they are run."""
