"""The page: the only code that imports gradio.

Handlers check input, call the library and shape the answer; layout arranges components and connects events.
"""
