"""The process that joins sockets of this host to sockets in sandboxes, so that neither the service nor asyncio is in the way.

It imports almost nothing, as the spawner does. What is to be joined to what is the service's to say.
"""
