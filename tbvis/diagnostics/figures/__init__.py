"""The figures of the paper from any two-stream network: units, stimuli, sample clips, captions."""
