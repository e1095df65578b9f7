"""Netlink in the few words that networks and faults need: attributes, a socket with answers, nftables, qdiscs.

Written by hand, since it also runs in a probe's interpreter that has no third-party package. What is asked for is decided above.
"""
