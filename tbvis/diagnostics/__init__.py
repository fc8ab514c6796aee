"""What a network does on clips: predictions, confusions, unit statistics."""
