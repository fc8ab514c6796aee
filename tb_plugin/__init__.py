"""The tbvis tab of TensorBoard: stimuli by layer and chi, beside the confusions of the same network."""
