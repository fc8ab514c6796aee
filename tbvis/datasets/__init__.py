"""From video files to training examples: catalogues, decoding, flow, the TFDS builder, snippet sampling."""

# Under --data_dir: the prepared sets, which is what TFDS calls their builder, and those that are being prepared.
PREPARED_FOLDER = "action_clips"
PREPARING_FOLDER = ".preparing"
