"""Tensors that do not know what a user is: blocks, losses, masks, the one training loop."""
