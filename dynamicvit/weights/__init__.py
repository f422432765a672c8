"""Weights: the only code that reads weight files or opens connections.

Nothing here runs what a file contains: tensors are read, everything else is left alone or refused.
"""
