"""The process that holds the networks between sandboxes: bridges, links and names, in a network namespace of its own."""
