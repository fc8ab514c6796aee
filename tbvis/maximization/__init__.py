"""The optimiser of inputs: targets, regularisers, canvas, ascent step, sweep over many units."""
