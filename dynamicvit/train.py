"""Train models that drop tokens: ``python -m dynamicvit.train --help``."""

from dynamicvit.training.loop import command

if __name__ == "__main__":
    command()
