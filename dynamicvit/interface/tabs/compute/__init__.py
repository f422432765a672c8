"""The tab that shows in which parts of the model the compute goes."""
