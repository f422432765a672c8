"""What one asks of a model and pictures: an analysis, a comparison of methods, a sweep, a survey, a clip, a report."""
