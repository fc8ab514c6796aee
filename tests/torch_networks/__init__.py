"""The networks in PyTorch, of torch.nn alone: what ours are compared with, layer by layer."""
