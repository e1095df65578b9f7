"""The client side: objects that users hold, each a view on a sandbox that the service and its init keep."""
