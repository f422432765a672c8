"""Which packages there are: the folders of dynamicvit, and the example images, which lie among the assets."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["dynamicvit*"]), "dynamicvit.examples"])
