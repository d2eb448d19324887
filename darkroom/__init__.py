"""Darkroom: files dropped in an inbox come out finished in an outbox.

Rooms: `daemon` watches, queues, runs, publishes and clears up; `pipelines` turn a source into a
result; `kernels` hold the tensor operations. Imports run one way: daemon → pipelines → kernels.
"""

__version__ = "0.1.0"
