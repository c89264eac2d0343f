"""A base model's folder: found, looked at, refused or loaded, the same way for every stage."""
