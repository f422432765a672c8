"""The words of the page, one JSON file for each language, all with the same keys; ``{name}`` is filled in.

Each tab has its own two files beside its module.
"""
