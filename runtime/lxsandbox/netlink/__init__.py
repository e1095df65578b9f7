"""Netlink in the few words that networks, egress and faults need: attributes, a socket with answers, links, qdiscs, nftables.

Written by hand: it runs in the hub, where a join is measured in tenths of a millisecond, and in a probe's interpreter, which has
no third-party package. What is asked for is decided above.
"""
