"""Stand-ins for clouds, on loopback, for tests only."""
