"""The same operations as Triton kernels; imported only where Triton is installed."""
