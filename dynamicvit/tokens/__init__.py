"""Which tokens stay: pure functions on scores, masks and indices.

Nothing here knows a model, a file or a page; torch is the only dependency.
"""
