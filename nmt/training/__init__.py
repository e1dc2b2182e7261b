"""From corpora to a finished run folder: the loop, its parts, what it leaves on disk."""
