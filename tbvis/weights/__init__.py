"""Importers of published weights, one file a format."""

# By name of --format, the module: each has read(path) and targets(source, stream); some need a library that is an extra.
FORMATS = {
  "matconvnet": "tbvis.weights.matconvnet",
  "caffe": "tbvis.weights.caffe",
  "pytorch": "tbvis.weights.pytorch",
  "keras": "tbvis.weights.keras_file",
  "npz": "tbvis.weights.npz",
}
