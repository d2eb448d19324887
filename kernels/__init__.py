"""Tensor operations: torch only; this room knows nothing of video, jobs or files."""
