"""Images: from a reference to folders that can be the lower layers of a sandbox's root."""
