"""The page; the only code that knows Gradio.

``layout`` arranges it and connects its events, ``explorer`` and ``tabs`` answer, ``state`` is what visitors share,
``web`` holds what the browser runs, ``texts`` its words.
"""
