"""Why one class is taken for another: hypotheses from stimuli, tests on clips, and their report."""
