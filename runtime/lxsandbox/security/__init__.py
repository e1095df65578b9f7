"""What a sandbox may do: capabilities, masked paths, system calls. Data and pure rules; applying them is the layers above.

Nothing is imported here: the spawner takes `capabilities` and `masks` and has to stay small.
"""
