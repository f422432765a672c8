"""Starts the page: ``python app.py``, then open the address that it prints."""

from dynamicvit.app.main import page, read_options, serve

if __name__ == "__main__":
    options = read_options()
    demo = page(options)  # the name by which Gradio's hot reload finds it: gradio app.py
    serve(demo, options)
