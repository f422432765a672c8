"""How far a long piece of work is, and what went wrong."""
