"""The tab that reduces the tokens of one picture in several ways, at equal cost."""
