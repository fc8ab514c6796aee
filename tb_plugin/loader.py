"""What TensorBoard imports at start: an error here would stop the whole program, so nothing heavy is imported."""

from __future__ import annotations

from tensorboard.plugins import base_plugin


class Loader(base_plugin.TBLoader):
  """Makes the plugin; an error of `load` is logged by TensorBoard, which then goes on without the tab."""

  def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin:
    """Returns the plugin."""
    from tb_plugin import plugin

    return plugin.Plugin(context)
