"""The line that tells a tab, and its visitor, which model settings the explorer has."""
