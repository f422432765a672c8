"""Architectures: tensors in, tensors out; no files, no network, no printing.

A model is a :class:`~dynamicvit.models.config.ModelConfig` turned into modules; the registry names the published ones.
"""
