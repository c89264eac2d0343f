"""Conversations through a chat template: how texts are passed, what is written of them, and what is learned."""
