"""Faults on the links of networks: what is cut, lost or slow; each is proven before it is said to be there."""
