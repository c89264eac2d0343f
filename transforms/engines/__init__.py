"""Text from a language model: the protocol, vLLM in a process of its own, an OpenAI-compatible endpoint."""
