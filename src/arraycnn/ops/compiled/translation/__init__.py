"""Kernels, written in a small part of Python, as LLVM's instructions.

A kernel's function is read, not run: each of its numbers, pointers and views becomes the name of a
value to come, each loop a loop of the code, and a call of another such function that function's code
in its place. What the language has is what `statements.py` and `expressions.py` read. Integers are
computed in 64 bits and are those of the processor: an index below zero is no index from the end. A
variable keeps the type of what it was first given.
"""
