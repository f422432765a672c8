"""The explorer: a Gradio component with its own template, style and script."""
