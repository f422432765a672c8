"""The head of the page: title, one sentence, and the switch of languages."""
