"""The tab that lowers the keep ratio step by step until the prediction flips."""
