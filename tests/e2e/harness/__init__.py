"""Private services, the real daemon and third-party clients for the tests.

Everything here owns its directory, its ports and its processes: nothing
touches the system's own PostgreSQL, slapd, nginx or tokens, and nothing is
left behind when the test process ends, however it ends.
"""
