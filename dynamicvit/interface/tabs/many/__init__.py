"""Many pictures at a time: average keep maps, agreement and savings."""
