"""From arrays to pictures: flow colours, mosaics, GIF and WebP."""
