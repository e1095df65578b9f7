"""The fixtures of the tests of images, for systems that take long to get."""

from images_real.conftest import in_memory, place, start, store

__all__ = ["in_memory", "place", "start", "store"]
