"""Building images from a Containerfile: reading it, planning its steps with their keys, carrying out those that are not stored.

The format is Docker's ("Dockerfile reference"); what of it is not done is refused by its name and line. A step is carried out
in a `Workshop`, a sandbox over the image so far, which whoever opens the library brings along.
"""

from lxsandbox.images.building.workshop import Base, Workshop, Workshops

__all__ = ["Base", "Workshop", "Workshops"]
