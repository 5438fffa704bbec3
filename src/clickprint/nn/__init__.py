"""Tensors that do not know what a user is: masks, positions, losses, blocks, the one training loop."""
