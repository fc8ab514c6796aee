"""The four findings of the paper, as measurements on a network: what `tbvis-analyze` is made of."""
