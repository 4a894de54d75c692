"""The same numbers, faster: each file holds the slow way, the fast way, and the reason."""
