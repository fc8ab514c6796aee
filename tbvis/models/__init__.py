"""Keras networks, one file each, with layer names as published; receptive-field geometry; checkpoints."""
