"""The row of example pictures: a Gradio component with its own template, style and script."""
