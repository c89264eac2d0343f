"""Supervised fine-tuning in torch: reads a mixture manifest, trains, evaluates, checkpoints, exports."""
