"""Kernels that LLVM compiles: their language, launches and files."""
