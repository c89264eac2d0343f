"""Where personal data and secrets stand in a text: one module per kind, each with ``find(text)``."""
