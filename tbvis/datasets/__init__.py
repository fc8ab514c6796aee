"""From video files to training examples: catalogues, decoding, flow, the TFDS builder, snippet sampling."""
