"""The About tab: the method in one figure, the words that the page uses, and what pruning saves in practice."""
