"""The words of figures in files and on the page, in every language."""
