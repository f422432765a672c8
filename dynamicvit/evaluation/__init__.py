"""How good a model is on many photos: accuracy, agreement, object coverage, and the table of them."""
