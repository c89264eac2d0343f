"""Container formats: how a file becomes rows, each row still the bytes of one JSON value."""
