"""Sets of photos: folders, tar files and CSV tables -> batches of model input."""
