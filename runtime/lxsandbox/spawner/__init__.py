"""The process that clones: exec'ed once from a clean interpreter, single-threaded, small, free of secrets, policy-free."""
