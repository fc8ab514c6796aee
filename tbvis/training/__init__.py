"""Training of the networks, phase by phase."""
