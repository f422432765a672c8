"""What a forward pass costs: multiply-adds, counted or in closed form, and milliseconds, dense and pruned."""
