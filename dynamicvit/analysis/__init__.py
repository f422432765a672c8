"""What one asks of a model and images: an analysis, a comparison of methods, a sweep, a survey, a clip, a report."""
