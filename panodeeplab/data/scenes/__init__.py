"""Generated streets: the data set that needs no download.

A street is laid out at random (`street`, `traffic`, `items`). Its things are solids, limbs and textured
rectangles in meters (`solids`, `vehicles`, `figures`, `textures`), each with a painter (`actors`, `posts`,
`surroundings`). A pinhole camera (`camera`) sees them, and `render` paints them far to near on a canvas whose
strokes carry color and segment together (`canvas`, `ground`, `weather`).
"""

from panodeeplab.data.scenes.dataset import StreetScenes, render_clip, render_scene, write_cityscapes

__all__ = ["StreetScenes", "render_clip", "render_scene", "write_cityscapes"]
