"""What a later stage would refuse, found before the first one works."""
